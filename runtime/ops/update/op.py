"""Optimiser steps: new values of a tensor and its optimiser state, from its gradient. Semantics are torch's.

The tensors of one update have one spec and one packing; the element order does not matter. Scalars that change from step
to step are inputs of shape (): the learning rate `lr`, a factor `scale` of the gradient
(clipping, accumulation), the number `step` of the update from 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register


@frozen
class SGDAttrs:
    """weight_decay adds weight_decay * w to the gradient; nesterov: Nesterov's momentum."""

    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: int = 0


@frozen
class AdamAttrs:
    """decoupled 1 is AdamW: the decay shrinks w instead of adding to the gradient."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decoupled: int = 0


@frozen
class SignSGDAttrs:
    """momentum is that of the running mean whose signs are taken, if there is one; the decay is decoupled."""

    momentum: float = 0.0
    weight_decay: float = 0.0


@frozen
class LionAttrs:
    """The decay is decoupled."""

    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0


def _alike(specs: Specs, names: tuple[str, ...]) -> TensorSpec:
    """The spec of w; all tensors of the step must have it."""
    w = checks.given(specs, 0, names[0])
    if w.dtype != "float32":
        raise DTypeError(f"expected {names[0]} to be float32, got {w.dtype}; train in float32")
    for i, name in enumerate(names[1:], 1):
        spec = checks.optional(specs, i)
        if spec is not None and spec != w:
            raise ShapeError(f"expected {name} to be {w} as {names[0]} is, got {spec}; it belongs to another tensor")
    return w


def _scalars(specs: Specs, names: dict[int, str]) -> None:
    for i, name in names.items():
        spec = checks.given(specs, i, name)
        if spec != TensorSpec(()):
            raise ShapeError(f"expected {name} to be a float32 scalar (), got {spec}; reshape it")


def _infer(tensors: tuple[str, ...], scalars: tuple[str, ...]) -> Callable[..., tuple[TensorSpec, ...]]:
    """The infer rule of a step whose inputs are w, g, what is remembered, then scalars."""

    def infer(attrs: Any, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
        w = _alike(specs, tensors)
        checks.given(specs, 1, tensors[1])
        _scalars(specs, dict(enumerate(scalars, len(tensors))))
        remembered = [checks.optional(specs, i) for i in range(2, len(tensors))]
        return (w, *(spec for spec in remembered if spec is not None))

    return infer


def _infer_sgd(attrs: SGDAttrs | SignSGDAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    found = _infer(("w", "g", "momentum_buffer"), ("lr", "scale"))(attrs, specs, values)
    if attrs.momentum and len(found) == 1:
        raise ShapeError(f"expected a momentum_buffer for momentum {attrs.momentum:g}, got none; connect it")
    return found


def sgd(attrs: SGDAttrs, w: Array, g: Array, buffer: Array | None, lr: Array, scale: Array) -> tuple[Array, ...]:
    """Stochastic gradient descent; torch.optim.SGD's formula (the buffer is zero before the first step)."""
    slope = g * scale + np.float32(attrs.weight_decay) * w
    if buffer is None:
        return (w - lr * slope,)
    moved = np.float32(attrs.momentum) * buffer + slope
    step = slope + np.float32(attrs.momentum) * moved if attrs.nesterov else moved
    return w - lr * step, moved


def adam(
    attrs: AdamAttrs, w: Array, g: Array, first: Array, second: Array, lr: Array, step: Array, scale: Array
) -> tuple[Array, ...]:
    """Adam, or AdamW; torch.optim's formulas, with bias correction in float64.

    source : Kingma and Ba, arXiv 1412.6980; Loshchilov and Hutter, arXiv 1711.05101
    """
    b1, b2, decay = attrs.beta1, attrs.beta2, np.float32(attrs.weight_decay)
    slope = g * scale
    if attrs.decoupled:
        w = w * (1 - lr * decay)
    else:
        slope = slope + decay * w
    first = np.float32(b1) * first + np.float32(1 - b1) * slope
    second = np.float32(b2) * second + np.float32(1 - b2) * slope * slope
    t = float(step)
    size = np.sqrt(second) / np.float32((1 - b2**t) ** 0.5) + np.float32(attrs.epsilon)
    return w - np.float32(float(lr) / (1 - b1**t)) * (first / size), first, second


def sign_sgd(attrs: SignSGDAttrs, w: Array, g: Array, mean: Array | None, lr: Array, scale: Array) -> tuple[Array, ...]:
    """A step of lr against the sign of the gradient, or of its running mean.

    source : Bernstein et al., signSGD, arXiv 1802.04434
    """
    slope, kept = g * scale, w * (1 - lr * np.float32(attrs.weight_decay))
    if mean is None:
        return (kept - lr * np.sign(slope),)
    mean = np.float32(attrs.momentum) * mean + np.float32(1 - attrs.momentum) * slope
    return kept - lr * np.sign(mean), mean


def lion(attrs: LionAttrs, w: Array, g: Array, mean: Array, lr: Array, scale: Array) -> tuple[Array, ...]:
    """A step of lr against the sign of a mean of momentum and gradient.

    source : Chen et al., arXiv 2302.06675
    """
    slope, kept = g * scale, w * (1 - lr * np.float32(attrs.weight_decay))
    toward = np.float32(attrs.beta1) * mean + np.float32(1 - attrs.beta1) * slope
    return kept - lr * np.sign(toward), np.float32(attrs.beta2) * mean + np.float32(1 - attrs.beta2) * slope


def average(attrs: NoAttrs, mean: Array, w: Array, rate: Array) -> tuple[Array]:
    """A running mean moves to w by `rate`: 1 - decay for EMA, 1 / (n + 1) for the mean of n + 1 tensors (SWA)."""
    return (mean + (w - mean) * rate,)


def accumulate(attrs: NoAttrs, total: Array, g: Array, keep: Array) -> tuple[Array]:
    """total * keep + g: a sum of gradients over several batches, begun with keep 0."""
    return (total * keep + g if keep else g.copy(),)


def _infer_pair(last: str) -> Callable[..., tuple[TensorSpec, ...]]:
    def infer(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
        return _infer(("the first tensor", "the second"), (last,))(attrs, specs, values)

    return infer


def _infer_norm(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    for i in range(len(specs)):
        spec = checks.given(specs, i, f"gradient {i}")
        if spec.dtype != "float32":
            raise DTypeError(f"expected gradient {i} to be float32, got {spec.dtype}; train in float32")
    return (TensorSpec(()),)


def squared_norm(attrs: NoAttrs, *gradients: Array) -> tuple[Array]:
    """The sum of the squares of all elements of all gradients, ()."""
    return (np.array(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients), np.float32),)


def _step(name: str, infer: Callable[..., tuple[TensorSpec, ...]], reference: Callable[..., tuple[Array, ...]],
          attrs: type, n_inputs: int) -> Op:  # fmt: skip
    return Op(
        name, infer, _in_float32(reference), attrs, (n_inputs, n_inputs),
        lambda attrs, specs, outputs: 2 * sum(spec.size for spec in outputs), in_storage=True,
    )  # fmt: skip


def _in_float32(reference: Callable[..., tuple[Array, ...]]) -> Callable[..., tuple[Array, ...]]:
    def run(attrs: Any, *inputs: Array | None) -> tuple[Array, ...]:
        return tuple(np.asarray(array, np.float32) for array in reference(attrs, *inputs))

    return run


register(
    _step("SGDUpdate", _infer_sgd, sgd, SGDAttrs, 5),
    _step("SignSGDUpdate", _infer_sgd, sign_sgd, SignSGDAttrs, 5),
    _step("AdamUpdate", _infer(("w", "g", "first", "second"), ("lr", "step", "scale")), adam, AdamAttrs, 7),
    _step("LionUpdate", _infer(("w", "g", "mean"), ("lr", "scale")), lion, LionAttrs, 5),
    _step("AverageUpdate", _infer_pair("rate"), average, NoAttrs, 3),
    _step("AccumulateUpdate", _infer_pair("keep"), accumulate, NoAttrs, 3),
    Op(
        "SquaredNorm", _infer_norm, squared_norm, NoAttrs, (1, checks.MANY),
        lambda attrs, specs, outputs: sum(spec.size for spec in specs if spec), in_storage=True,
    ),
)  # fmt: skip
