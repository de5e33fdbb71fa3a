"""YOLOv5 without its last step: of each grid (1, A, h, w, 5 + C), or (1, A * (5 + C), h, w), in any order.

A row is x, y, width, height, how likely there is an object, and of each class how likely it is that one, all before the sigmoid unless
the network ends in one. With the sigmoid s, the stride and the cell: centre = (2 s - 0.5 + cell) * stride, size = (2 s)^2 * anchor.
Anchors are the file's, or those of COCO. Source: ultralytics/yolov5, models/yolo.py, `Detect`; models/yolov5s.yaml, hub/yolov5s6.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import STRIDES, Candidates, Fit, Outputs, from_centres, grid

LAYOUT = "(1, A, h, w, 5 + classes) or (1, A * (5 + classes), h, w) of each grid"
# Width and height of three anchors for each grid, in pixels; by the number of grids
COCO = {
    3: (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326),
    4: (19, 27, 44, 40, 38, 94, 96, 68, 86, 152, 180, 137, 140, 301, 303, 264, 238, 542, 436, 615, 739, 380, 925, 792),
}
OBJECT = 4  # the column of the object


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    return fit_anchors(outputs, COCO)


def fit_anchors(outputs: Outputs, known: dict[int, tuple[int, ...]]) -> Fit | None:
    """The same with other anchors, where the file has none. known : number of grids -> width and height of each anchor, flat"""
    grids = len(outputs.shapes)
    strides = next((some for some in STRIDES if len(some) == grids), None)
    flat = outputs.anchors or known.get(grids, ())
    if strides is None or not flat or len(flat) % (2 * grids):
        return None
    anchors = np.array(flat, np.float32).reshape(grids, -1, 2)
    count, cells = anchors.shape[1], [tuple(-(-side // stride) for side in outputs.size) for stride in strides]
    widths = [_widths(shape, count) for shape in outputs.shapes]  # (h, w), numbers of a row
    sizes = [size for size, _ in widths]
    if sorted(sizes) != sorted(set(cells)) or len({width for _, width in widths}) != 1:
        return None
    places, classes = [sizes.index(size) for size in cells], widths[0][1] - 5
    if not outputs.are(classes, sum(count * h * w for h, w in cells)):
        return None
    ended = [outputs.ends[place] == "Sigmoid" if outputs.ends else False for place in places]
    return Fit(partial(_decode, places, strides, anchors, ended, outputs.size), classes)


def _widths(shape: tuple[int, ...], count: int) -> tuple[tuple[int, ...], int]:
    """The height and width of an output's grid, and the numbers of a row; 0 if it is no grid of `count` anchors."""
    if len(shape) == 5 and shape[:2] == (1, count):
        return shape[2:4], shape[4]
    if len(shape) == 4 and shape[0] == 1 and shape[1] % count == 0:
        return shape[2:], shape[1] // count
    return (), 0


def _decode(
    places: Sequence[int],
    strides: Sequence[int],
    anchors: Array,
    ended: Sequence[bool],
    size: tuple[int, int],
    arrays: Sequence[Array],
    conf: float,
) -> Candidates:
    """A score is that of the object times that of its best class. ended : whether an output has had its sigmoid"""
    parts = [
        _decode_grid(np.asarray(arrays[place], np.float32), stride, own, done, size, conf)
        for place, stride, own, done in zip(places, strides, anchors, ended, strict=True)
    ]
    boxes, scores, kinds = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return Candidates(boxes, scores, kinds)


def _decode_grid(
    array: Array, stride: int, anchors: Array, ended: bool, size: tuple[int, int], conf: float
) -> tuple[Array, Array, Array]:
    """Boxes (N, 4), scores (N,) and classes (N,) of one grid, whose object is above conf."""
    count = len(anchors)
    rows = (
        array[0] if array.ndim == 5 else array.reshape(count, -1, *array.shape[2:]).transpose(0, 2, 3, 1)
    )  # (A, h, w, 5 + C)
    flat = rows.reshape(count, -1, rows.shape[3])
    # A little below, for rounding: whoever chooses among the candidates looks at the scores
    least = conf if ended else np.log(conf / (1 - conf)) - 1e-3 if 0 < conf < 1 else np.inf if conf else -np.inf
    which, cells = np.nonzero(flat[:, :, OBJECT] > np.float32(least))
    values = flat[which, cells]  # (N, 5 + C)
    if not ended:
        values = 1 / (1 + np.exp(-values))
    at = grid(size, (stride,))[0][cells]
    middles = (2 * values[:, :2] - np.float32(0.5) + at) * np.float32(stride)
    sides = (2 * values[:, 2:4]) ** 2 * anchors[which]
    kinds = values[:, 5:].argmax(axis=1)
    scores = values[:, OBJECT] * values[np.arange(len(values)), 5 + kinds]
    return from_centres(np.concatenate([middles, sides], axis=1).T), scores, kinds
