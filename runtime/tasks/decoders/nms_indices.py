"""Networks that give what NonMaxSuppression selected: rows (K, 3) of image, class and box, beside all boxes (1, N, 4) and scores (1, C, N).

In any order. Boxes are x, y, x, y of two opposite corners in pixels, as exporters from PyTorch have them. Rows of -1 are empty.
Source: ONNX, `NonMaxSuppression`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, plain

LAYOUT = "(K, 3), boxes (1, N, 4) of x, y, x, y and scores (1, classes, N)"


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    return fit_order(outputs, (0, 1, 2, 3))


def fit_order(outputs: Outputs, order: tuple[int, int, int, int]) -> Fit | None:
    """The same of boxes in another order. order : where left, top, right and bottom are"""
    shapes = outputs.shapes
    if sorted(map(len, shapes)) != [2, 3, 3]:
        return None
    rows = next(place for place, shape in enumerate(shapes) if len(shape) == 2)
    if shapes[rows][1] != 3 or not outputs.dtypes[rows].startswith("int"):
        return None
    a, b = (place for place in range(3) if place != rows)
    for boxes, scores in ((a, b), (b, a)):
        n = shapes[boxes][1]
        if shapes[boxes] == (1, n, 4) and shapes[scores][::2] == (1, n) and outputs.are(shapes[scores][1], n):
            return Fit(partial(_decode, rows, boxes, scores, order), shapes[scores][1], is_apart=True)
    return None


def _decode(
    rows: int, boxes: int, scores: int, order: Sequence[int], arrays: Sequence[Array], conf: float
) -> Candidates:
    """The selected boxes."""
    _, n, _ = arrays[boxes].shape
    classes = arrays[scores].shape[1]
    _, kinds, places = np.asarray(arrays[rows], np.int64).T
    good = (places >= 0) & (places < n) & (kinds >= 0) & (kinds < classes)
    kinds, places = kinds[good], places[good]
    corners = plain(arrays[boxes])[places][:, order]
    first, second = corners[:, :2], corners[:, 2:]
    edges = np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)
    return Candidates(edges, plain(arrays[scores])[kinds, places], kinds)
