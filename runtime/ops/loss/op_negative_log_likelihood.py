"""The losses of ONNX, with classes on axis 1. Training builds CrossEntropy instead, which has classes last."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import GraphError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register

REDUCTIONS = ("none", "mean", "sum")


@frozen
class LossAttrs:
    """ignore_index : a label that does not count, of any value; None: all labels are classes."""

    ignore_index: int | None = None
    reduction: str = "mean"


def _infer_loss(attrs: LossAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    scores, labels = checks.given(specs, 0, "scores", checks.FLOATS), checks.given(specs, 1, "labels", checks.INDICES)
    wanted = (*scores.dims[:1], *scores.dims[2:])
    if len(scores.dims) < 2 or labels.dims != wanted:
        raise ShapeError(
            f"expected scores (N, C, ...) and a label for each place {checks.show(wanted)}, got "
            f"{checks.show(scores.dims)} and {checks.show(labels.dims)}; check the model"
        )
    if attrs.reduction not in REDUCTIONS:
        raise GraphError(f"expected reduction {', '.join(REDUCTIONS)}, got {attrs.reduction!r}; choose one")
    weights = checks.optional(specs, 2)
    if weights is not None:
        checks.vector("class weights", weights, scores.dims[1], "one per class")
    return (TensorSpec(labels.dims if attrs.reduction == "none" else (), scores.dtype),)


def negative_log_likelihood(
    attrs: LossAttrs, log_prob: Array, labels: Array, weights: Array | None = None
) -> tuple[Array]:
    """-log p of each label times its class's weight; their mean is over the sum of these weights.

    log_prob : (N, C, ...)
    labels   : (N, ...) int32 or int64
    weights  : (C,), of each class
    return   : (N, ...) without a reduction, else ()
    raise    : ShapeError if a label that counts is no class
    source   : ONNX NegativeLogLikelihoodLoss-22
    """
    counts = np.ones(labels.shape, bool) if attrs.ignore_index is None else labels != attrs.ignore_index
    n_classes = log_prob.shape[1]
    if ((labels[counts] < 0) | (labels[counts] >= n_classes)).any():
        raise ShapeError(f"expected labels from 0 to {n_classes - 1}, got others; correct them, or ignore one")
    at = np.where(counts, labels, 0)
    wide = log_prob.astype(np.float32) if log_prob.dtype == np.float16 else log_prob
    share = np.where(counts, 1 if weights is None else weights[at], 0).astype(wide.dtype)
    losses = np.where(counts, -np.take_along_axis(wide, at[:, None], axis=1)[:, 0], 0) * share
    if attrs.reduction == "mean":
        with np.errstate(invalid="ignore"):  # of no label that counts: NaN
            losses = losses.sum() / share.sum()
    elif attrs.reduction == "sum":
        losses = losses.sum()
    return (np.asarray(losses, log_prob.dtype),)


def _infer_softmax(attrs: LossAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    scores = checks.given(specs, 0, "scores", checks.FLOATS)
    return (*_infer_loss(attrs, specs, values), scores)


def softmax_cross_entropy_loss(
    attrs: LossAttrs, scores: Array, labels: Array, weights: Array | None = None
) -> tuple[Array, Array]:
    """The negative log-likelihood of a softmax over axis 1, and the log-probabilities, like scores.

    scores          : (N, C, ...)
    labels, weights : as in `negative_log_likelihood`
    source : ONNX SoftmaxCrossEntropyLoss-13
    """
    wide = scores.astype(np.float32) if scores.dtype == np.float16 else scores
    shifted = wide - wide.max(axis=1, keepdims=True)
    log_prob = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    (loss,) = negative_log_likelihood(attrs, log_prob, labels, weights)
    return loss.astype(scores.dtype), log_prob.astype(scores.dtype)


register(
    Op("NegativeLogLikelihoodLoss", _infer_loss, negative_log_likelihood, LossAttrs, n_inputs=(2, 3)),
    Op("SoftmaxCrossEntropyLoss", _infer_softmax, softmax_cross_entropy_loss, LossAttrs, n_inputs=(2, 3)),
)
