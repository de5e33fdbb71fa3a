"""What is found in data, so that its size follows from it: NonZero, NonMaxSuppression. `infer` without data: nothing is found."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import ANY, choice, given, optional, show, tensor
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.traits import always

# inputs of NonMaxSuppression after boxes and scores
LIMITS = (("max_output_boxes_per_class", "int64"), ("iou_threshold", "float32"), ("score_threshold", "float32"))


@frozen
class NonMaxSuppressionAttrs:
    """center_point_box : 0, boxes are two opposite corners (y, x, y, x); 1, they are (x_center, y_center, width, height)"""

    center_point_box: int = 0


def infer_non_zero(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """(RANK, N) int64: a column for each element that is not 0."""
    x = given(specs, 0, dtypes=ANY)
    known = optional(values, 0)
    found = 0 if known is None else int(np.count_nonzero(known))
    return (tensor((max(len(x.dims), 1), found), "int64"),)


def non_zero(attrs: NoAttrs, x: Array) -> tuple[Array, ...]:
    """Where the elements lie that are not 0, in C order. A scalar counts as a list of one."""
    return (np.array(np.nonzero(np.atleast_1d(x)), np.int64),)


def infer_non_max_suppression(attrs: NonMaxSuppressionAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """(N, 3) int64: batch, class and number of each box that is kept."""
    boxes, scores = (given(specs, index, name, ("float32",)) for index, name in enumerate(("boxes", "scores")))
    choice(attrs.center_point_box, (0, 1), "center_point_box")
    if len(boxes.dims) != 3 or len(scores.dims) != 3 or boxes.dims[2] != 4:
        raise ShapeError(
            f"expected boxes (BATCH, N, 4) and scores (BATCH, CLASSES, N), got {show(boxes.dims)} and {show(scores.dims)}; check the model"
        )
    if (boxes.dims[0], boxes.dims[1]) != (scores.dims[0], scores.dims[2]):
        raise ShapeError(
            f"expected one score for each box and class, got boxes {show(boxes.dims)} and scores {show(scores.dims)}; check the model"
        )
    for index, (name, dtype) in enumerate(LIMITS, 2):
        limit = optional(specs, index)
        if limit is not None:
            given(specs, index, name, (dtype,))
            if limit.size != 1:
                raise ShapeError(f"expected {name} of one element, got {show(limit.dims)}; check the model")
    known = [optional(values, index) for index in range(5)]
    if known[0] is None or known[1] is None:
        return (tensor((0, 3), "int64"),)
    (kept,) = non_max_suppression(attrs, known[0], known[1], *known[2:])
    return (tensor(kept.shape, "int64"),)


def non_max_suppression(
    attrs: NonMaxSuppressionAttrs,
    boxes: Array,
    scores: Array,
    max_output_boxes_per_class: Array | None = None,
    iou_threshold: Array | None = None,
    score_threshold: Array | None = None,
) -> tuple[Array, ...]:
    """The best boxes, of each batch and class, that do not overlap a better one by more than the threshold.

    boxes  : (BATCH, N, 4) float32
    scores : (BATCH, CLASSES, N) float32; of equal ones the first counts more
    return : (K, 3) int64: batch, class, box; in each class the best first
    source : ONNX NonMaxSuppression-11; a box without area overlaps nothing, as in onnxruntime
    """
    max_boxes = 0 if max_output_boxes_per_class is None else int(max_output_boxes_per_class.item())
    limit = np.float32(0 if iou_threshold is None else iou_threshold.item())
    kept: list[tuple[int, int, int]] = []
    for batch in range(len(boxes) if max_boxes > 0 else 0):
        corners = _corners(boxes[batch], attrs.center_point_box)
        for kind, row in enumerate(scores[batch]):
            order = np.argsort(-row, kind="stable")
            if score_threshold is not None:
                order = order[row[order] > np.float32(score_threshold.item())]
            kept += [(batch, kind, box) for box in _apart(corners, order, max_boxes, limit)]
    return (np.array(kept, np.int64).reshape(-1, 3),)


def _corners(boxes: Array, center_point_box: int) -> Array:
    """(4, N): the lower and the upper end of one axis, then those of the other."""
    if center_point_box:
        x, y, width, height = boxes.T
        return np.stack([y - height / 2, y + height / 2, x - width / 2, x + width / 2])
    y1, x1, y2, x2 = boxes.T
    return np.stack([np.minimum(y1, y2), np.maximum(y1, y2), np.minimum(x1, x2), np.maximum(x1, x2)])


def _apart(corners: Array, order: Array, max_boxes: int, limit: np.float32) -> list[int]:
    """The boxes that are kept of those in `order`: each drops what overlaps it, row by row."""
    low_y, high_y, low_x, high_x = corners
    areas = (high_y - low_y) * (high_x - low_x)
    kept: list[int] = []
    while order.size and len(kept) < max_boxes:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        height = np.minimum(high_y[order], high_y[best]) - np.maximum(low_y[order], low_y[best])
        width = np.minimum(high_x[order], high_x[best]) - np.maximum(low_x[order], low_x[best])
        shared = np.maximum(height, 0) * np.maximum(width, 0)
        whole = areas[order] + areas[best] - shared
        real = (shared > 0) & (areas[order] > 0) & (areas[best] > 0) & (whole > 0)
        order = order[~(real & (shared > limit * whole))]
    return kept


register(
    Op("NonZero", infer_non_zero, non_zero, static_inputs=(0,), data_sized=True, rank=always(2)),
    Op(
        "NonMaxSuppression", infer_non_max_suppression, non_max_suppression, NonMaxSuppressionAttrs, n_inputs=(2, 5),
        static_inputs=(0, 1, 2, 3, 4), data_sized=True, rank=always(2),
    ),
)  # fmt: skip
