"""Losses over a batch."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.lower.loss import lower_cross_entropy, lower_cross_entropy_grad
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register


@frozen
class CrossEntropyAttrs:
    """label_smoothing : share of the target that all classes get alike. ignore_index : a label that does not count."""

    label_smoothing: float = 0.0
    ignore_index: int = -100
    reduction: str = "mean"


def _infer(attrs: CrossEntropyAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    logits, labels = checks.given(specs, 0, "scores"), checks.given(specs, 1, "labels")
    checks.one_of("the scores", logits, checks.FLOATS)
    if labels.dims != logits.dims[:-1]:
        raise ShapeError(f"expected labels {checks.show(logits.dims[:-1])}, got {checks.show(labels.dims)}; one each")
    return TensorSpec((), logits.dtype), logits


def softmax_cross_entropy(attrs: CrossEntropyAttrs, logits: Array, labels: Array) -> tuple[Array, ...]:
    """Mean of -log softmax at the labels.

    logits : (N, ..., C)
    labels : (N, ...) int64
    return : loss (), log-probabilities like logits
    source : ONNX SoftmaxCrossEntropyLoss-13, channels last; label smoothing as Szegedy et al. (2016)
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_prob = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    counts = labels != attrs.ignore_index
    at = np.where(counts, labels, 0)[..., None]
    exact = -np.take_along_axis(log_prob, at, axis=-1)[..., 0]
    each = exact * (1 - attrs.label_smoothing) - attrs.label_smoothing * log_prob.mean(axis=-1)
    total = (each * counts).sum()
    loss = total / max(counts.sum(), 1) if attrs.reduction == "mean" else total
    return np.asarray(loss, logits.dtype), log_prob.astype(logits.dtype, copy=False)


def _infer_grad(attrs: CrossEntropyAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    return (checks.given(specs, 1, "log_prob"),)


def softmax_cross_entropy_grad(attrs: CrossEntropyAttrs, dloss: Array, log_prob: Array, labels: Array) -> tuple[Array]:
    """The gradient of the scores: probabilities less targets.

    dloss  : (); log_prob (N, ..., C); labels (N, ...) int64
    return : like log_prob
    """
    counts = labels != attrs.ignore_index
    classes = log_prob.shape[-1]
    target = np.full(log_prob.shape, attrs.label_smoothing / classes, log_prob.dtype)
    at = np.where(counts, labels, 0)[..., None]
    hit = np.take_along_axis(target, at, axis=-1) + (1 - attrs.label_smoothing)
    np.put_along_axis(target, at, hit, axis=-1)
    scale = dloss / max(counts.sum(), 1) if attrs.reduction == "mean" else dloss
    return (((np.exp(log_prob) - target) * counts[..., None] * scale).astype(log_prob.dtype, copy=False),)


register(
    Op(
        "SoftmaxCrossEntropyLoss", _infer, softmax_cross_entropy, CrossEntropyAttrs, n_inputs=(2, 2),
        lower=lower_cross_entropy,
    ),
    Op(
        "SoftmaxCrossEntropyLossGrad", _infer_grad, softmax_cross_entropy_grad, CrossEntropyAttrs, n_inputs=(3, 3),
        lower=lower_cross_entropy_grad,
    ),
)  # fmt: skip
