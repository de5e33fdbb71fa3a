"""PicoDet: scores (1, CELLS, C) of each of four grids and distances (1, CELLS, 32) of each; or both in one (1, N, C + 32).

Distances are distributions as in NanoDet, from the centre of a cell. Exports with decoded boxes give (1, N, 4) and scores (1, C, N).
Source: PaddleDetection, ppdet/modeling/heads/pico_head.py, exported without suppression.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import (
    Candidates,
    Fit,
    Outputs,
    best_of_columns,
    best_of_rows,
    from_distances,
    grid,
    plain,
    strides_of,
)

LAYOUT = "(1, cells, classes) and (1, cells, 32) of each grid"
BINS = 8  # of a distance


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shapes = outputs.shapes
    if not shapes or any(len(shape) != 3 or shape[0] != 1 for shape in shapes):
        return None
    if len(shapes) == 2 and shapes[0][2] == 4 and shapes[0][1] == shapes[1][2]:
        return Fit(_decode_boxes, shapes[1][1]) if outputs.are(*shapes[1][1:]) else None
    half = len(shapes) // 2
    together = len(shapes) == 1
    scores, distances = (shapes, shapes) if together else (shapes[:half], shapes[half:])
    cells = sum(shape[1] for shape in scores)
    strides = strides_of(outputs.size, cells)
    classes = scores[0][2] - (4 * BINS if together else 0)
    if strides is None or not outputs.are(classes, cells) or len(distances) != len(scores):
        return None
    if not together:
        if any(one[2] != classes or other != (1, one[1], 4 * BINS) for one, other in zip(scores, distances)):
            return None
    at, steps = grid(outputs.size, strides)
    middles = (at + np.float32(0.5)) * steps
    return Fit(lambda arrays, conf: _decode(arrays, conf, classes, middles, steps), classes)


def _decode(arrays: Sequence[Array], conf: float, classes: int, middles: Array, steps: Array) -> Candidates:
    """A score is that of the best class. middles : (N, 2) in pixels, from which distances count"""
    half = len(arrays) // 2
    rows = [plain(array) for array in arrays]
    scores = np.concatenate(rows[:half]) if half else rows[0]
    places, kinds, best = best_of_rows(scores, 0, classes, conf)
    figures = np.concatenate(rows[half:])[places] if half else scores[places, classes:]
    return Candidates(from_distances(middles[places], figures, steps[places]), best, kinds)


def _decode_boxes(arrays: Sequence[Array], conf: float) -> Candidates:
    """Of boxes (1, N, 4) of left, top, right, bottom in pixels and scores (1, C, N)."""
    boxes, scores = map(plain, arrays)
    places, kinds, best = best_of_columns(scores, conf)
    return Candidates(boxes[places], best, kinds)
