"""Batch normalisation in training, and its gradient. Channels last."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.normalization.op import BATCH


@frozen
class BatchNormalizationTrainingAttrs:
    """momentum : share of the old running statistics that stays. unbiased : the running variance takes n / (n - 1)."""

    epsilon: float = 1e-5
    momentum: float = 0.9
    unbiased: int = 1


def _infer_training(attrs: BatchNormalizationTrainingAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "X")
    checks.one_of("the input", x, checks.FLOATS)
    for i, name in enumerate(("scale", "B", "running_mean", "running_var"), 1):
        checks.vector(name, checks.given(specs, i, name), x.dims[-1], "one value per channel")
    vector = TensorSpec(x.dims[-1:], x.dtype)
    return x, vector, vector, vector, vector


def batch_normalization_training(
    attrs: BatchNormalizationTrainingAttrs, x: Array, scale: Array, bias: Array, mean: Array, var: Array
) -> tuple[Array, ...]:
    """Normalise each channel with the batch's statistics, and keep running ones.

    x      : (N, ..., C); others (C,)
    return : y like x; running mean and variance, the batch's mean and 1 / standard deviation, (C,) each
    source : Ioffe and Szegedy (2015), algorithm 1; running statistics as PyTorch keeps them
    """
    axes = tuple(range(x.ndim - 1))
    now, spread = x.mean(axis=axes), x.var(axis=axes)
    inv_std = (1 / np.sqrt(spread + attrs.epsilon)).astype(x.dtype)
    y = (x - now) * (inv_std * scale) + bias
    count = x.size // x.shape[-1]
    if attrs.unbiased and count > 1:
        spread = spread * (count / (count - 1))
    keep = attrs.momentum
    running = (mean * keep + now * (1 - keep), var * keep + spread * (1 - keep))
    return tuple(v.astype(x.dtype, copy=False) for v in (y, *running, now, inv_std))


def _infer_apply(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    return (checks.given(specs, 0, "X"),)


def batch_normalization_apply(
    attrs: NoAttrs, x: Array, scale: Array, bias: Array, mean: Array, inv_std: Array
) -> tuple[Array]:
    """The normalised batch once more, by the statistics that were made with it.

    x : (N, ..., C); others (C,)
    """
    return (((x - mean) * (inv_std * scale) + bias).astype(x.dtype, copy=False),)


@frozen
class BatchNormalizationGradAttrs:
    """The result went through a clamp: where it was not within, bounds excluded, nothing flows."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def clamped(self) -> bool:
        """Whether there was a clamp."""
        return (self.low, self.high) != (-math.inf, math.inf)


def _infer_grad(attrs: BatchNormalizationGradAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    grad_y, x, scale = (checks.given(specs, i, name) for i, name in enumerate(("dY", "X", "scale")))
    checks.same_dtype(grad_y, X=x, scale=scale)
    if attrs.clamped:
        checks.given(specs, 5, "B")
    return x, scale, scale


def batch_normalization_grad(
    attrs: BatchNormalizationGradAttrs, grad_y: Array, x: Array, scale: Array, mean: Array, inv_std: Array,
    bias: Array | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of batch normalisation with the batch's statistics, with the clamp after it if it had one.

    grad_y, x  : (N, ..., C); others (C,)
    return : grad_x like x; grad_scale, grad_bias (C,)
    source : Ioffe and Szegedy (2015), section 3
    """
    axes = tuple(range(x.ndim - 1))
    if attrs.clamped:
        assert bias is not None
        y = (x - mean) * (inv_std * scale) + bias
        grad_y = np.where((y > attrs.low) & (y < attrs.high), grad_y, 0)
    normal = (x - mean) * inv_std
    grad_bias, grad_scale = grad_y.sum(axis=axes), (grad_y * normal).sum(axis=axes)
    count = x.size // x.shape[-1]
    grad_x = scale * inv_std * (grad_y - grad_bias / count - normal * (grad_scale / count))
    return tuple(v.astype(x.dtype, copy=False) for v in (grad_x, grad_scale, grad_bias))


register(
    Op(
        "BatchNormalizationTraining", _infer_training, batch_normalization_training, BatchNormalizationTrainingAttrs,
        n_inputs=(5, 5), operands=BATCH, normalizes=True, hosts=True,
    ),
    Op("BatchNormalizationApply", _infer_apply, batch_normalization_apply, n_inputs=(5, 5), hosts=True),
    Op("BatchNormalizationGrad", _infer_grad, batch_normalization_grad, BatchNormalizationGradAttrs, n_inputs=(5, 6)),
)  # fmt: skip
