"""Losses over a batch."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
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
    _check_weights(specs, 2, logits)
    return TensorSpec((), logits.dtype), logits


def _check_weights(specs: Specs, index: int, logits: TensorSpec) -> None:
    weights = checks.optional(specs, index)
    if weights is not None:
        checks.vector("class weights", weights, logits.dims[-1], "one per class")


def softmax_cross_entropy(
    attrs: CrossEntropyAttrs, logits: Array, labels: Array, weights: Array | None = None
) -> tuple[Array, ...]:
    """Mean of -log softmax at the labels; with weights, over the sum of the weights of the labels.

    logits  : (N, ..., C)
    labels  : (N, ...) int64
    weights : (C,), of each class
    return  : loss (), log-probabilities like logits
    source  : ONNX SoftmaxCrossEntropyLoss-13, but channels last and of a mean or sum; label smoothing as Szegedy et al. (2016)
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_prob = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    counts, at, of_class = _targets(attrs, labels, log_prob, weights)
    exact = -(np.take_along_axis(log_prob, at, axis=-1) * of_class[at])[..., 0]
    each = exact * (1 - attrs.label_smoothing) - attrs.label_smoothing * (log_prob * of_class).mean(axis=-1)
    total = (each * (counts > 0)).sum()
    loss = total / (counts.sum() or 1) if attrs.reduction == "mean" else total
    return np.asarray(loss, logits.dtype), log_prob.astype(logits.dtype, copy=False)


def _infer_grad(attrs: CrossEntropyAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    return (checks.given(specs, 1, "log_prob"),)


def softmax_cross_entropy_grad(
    attrs: CrossEntropyAttrs, dloss: Array, log_prob: Array, labels: Array, weights: Array | None = None
) -> tuple[Array]:
    """The gradient of the scores: probabilities less targets.

    dloss  : (); log_prob (N, ..., C); labels (N, ...) int64; weights (C,)
    return : like log_prob
    """
    counts, at, of_class = _targets(attrs, labels, log_prob, weights)
    target = np.broadcast_to(of_class * (attrs.label_smoothing / len(of_class)), log_prob.shape).copy()
    hit = np.take_along_axis(target, at, axis=-1) + (1 - attrs.label_smoothing) * of_class[at]
    np.put_along_axis(target, at, hit, axis=-1)
    scale = dloss / (counts.sum() or 1) if attrs.reduction == "mean" else dloss
    slope = np.exp(log_prob) * target.sum(axis=-1, keepdims=True) - target
    return ((slope * (counts > 0)[..., None] * scale).astype(log_prob.dtype, copy=False),)


def _targets(
    attrs: CrossEntropyAttrs, labels: Array, log_prob: Array, weights: Array | None
) -> tuple[Array, Array, Array]:
    """What each row counts (N, ...), its label with a last axis (0 where it is ignored), the weights of the classes."""
    of_class = np.ones(log_prob.shape[-1], log_prob.dtype) if weights is None else weights.astype(log_prob.dtype)
    real = labels != attrs.ignore_index
    at = np.where(real, labels, 0)
    return of_class[at] * real, at[..., None], of_class


@frozen
class CTCAttrs:
    """blank : the class that stands for nothing. zero_infinity : a sample whose labels do not fit counts as 0."""

    blank: int = 0
    reduction: str = "mean"
    zero_infinity: int = 0


def _infer_ctc(attrs: CTCAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    log_probs, labels = checks.given(specs, 0, "log_probs"), checks.given(specs, 1, "labels")
    checks.one_of("the log-probabilities", log_probs, checks.FLOATS)
    if len(log_probs.dims) != 3 or len(labels.dims) != 2 or labels.dims[0] != log_probs.dims[0]:
        raise ShapeError(
            f"expected log_probs (N, T, C) and labels (N, S), got {checks.show(log_probs.dims)} and "
            f"{checks.show(labels.dims)}; transpose or pad them"
        )
    n, dtype = log_probs.dims[0], log_probs.dtype
    for i, name in ((2, "input_lengths"), (3, "label_lengths")):
        checks.vector(name, checks.given(specs, i, name), n, "one per sample")
    if not 0 <= attrs.blank < log_probs.dims[2]:
        raise ShapeError(f"expected blank to be one of {log_probs.dims[2]} classes, got {attrs.blank}; correct it")
    if attrs.reduction not in ("mean", "sum"):
        raise ShapeError(f"expected reduction mean or sum, got {attrs.reduction}; choose one")
    return TensorSpec((), dtype), TensorSpec((n,), dtype), log_probs


def ctc(attrs: CTCAttrs, log_probs: Array, labels: Array, times_of: Array, lengths: Array) -> tuple[Array, ...]:
    """Connectionist temporal classification: -log of the summed probability of all alignments, in the log domain.

    log_probs : (N, T, C), of which times_of[i] times count; labels (N, S) int64, of which lengths[i] count
    return    : loss (): the mean over samples of each loss over its length, or the sum; losses (N,); the gradient of the
                loss with respect to log_probs
    source    : Graves et al. (2006), equations 6 to 16
    """
    n = len(log_probs)
    losses, gradient = np.zeros(n), np.zeros(log_probs.shape)
    for i in range(n):
        wide = log_probs[i, : times_of[i]].astype(np.float64)
        path = np.full(2 * int(lengths[i]) + 1, attrs.blank)
        path[1::2] = labels[i, : lengths[i]]
        losses[i], slope = _ctc_sample(wide, path, attrs.blank)
        if np.isinf(losses[i]) and attrs.zero_infinity:
            losses[i] = 0.0
        gradient[i, : times_of[i]] = slope
    share = 1 / (n * np.maximum(lengths, 1)) if attrs.reduction == "mean" else np.ones(n)
    gradient *= share[:, None, None]
    dtype = log_probs.dtype
    return np.asarray((losses * share).sum(), dtype), losses.astype(dtype), gradient.astype(dtype)


def _ctc_sample(log_probs: Array, path: Array, blank: int) -> tuple[float, Array]:
    """Loss and gradient of one sample, by forward and backward sums over the labels with blanks between them."""
    times, gradient = len(log_probs), np.zeros_like(log_probs)
    if not times:
        return (0.0 if len(path) == 1 else np.inf), gradient
    forward = _ctc_sums(log_probs, path, blank)
    backward = _ctc_sums(log_probs[::-1], path[::-1], blank)[::-1, ::-1]
    total = np.logaddexp.reduce(forward[-1, -2:])
    if np.isinf(total):
        return np.inf, gradient
    share = np.exp(forward + backward - log_probs[:, path] - total)  # probability of each state at each time
    np.add.at(gradient.T, path, -share.T)
    return float(-total), gradient


def _ctc_sums(log_probs: Array, path: Array, blank: int) -> Array:
    """(T, states): log of the summed probability of the ways to each state at each time."""
    repeats = np.ones(len(path), bool)  # a label follows another one without a blank between, unless it repeats it
    repeats[2:] = (path[2:] == blank) | (path[2:] == path[:-2])
    sums = np.full((len(log_probs), len(path)), -np.inf)
    sums[0, :2] = log_probs[0, path[:2]]
    for t in range(1, len(log_probs)):
        stay, far = sums[t - 1], np.full(len(path), -np.inf)
        near = np.concatenate([[-np.inf], stay[:-1]])
        far[2:] = np.where(repeats[2:], -np.inf, stay[:-2])
        sums[t] = np.logaddexp(np.logaddexp(stay, near), far) + log_probs[t, path]
    return sums


register(
    Op("CTCLoss", _infer_ctc, ctc, CTCAttrs, (4, 4)),
    Op("CrossEntropy", _infer, softmax_cross_entropy, CrossEntropyAttrs, n_inputs=(2, 3)),
    Op("CrossEntropyGrad", _infer_grad, softmax_cross_entropy_grad, CrossEntropyAttrs, n_inputs=(3, 4)),
)
