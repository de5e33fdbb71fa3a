"""NanoDet and NanoDet-Plus: (1, N, C + 4 * BINS), a row for each cell of three (NanoDet) or four grids (Plus).

A row is of each class how likely it is that one, then distributions of the distances to the left, top, right and bottom side, as logits.
Source: RangiLyu/nanodet, nanodet/model/head/{gfl_head,nanodet_plus_head}.py. Plus measures from a cell's corner, NanoDet from its centre.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import (
    Candidates,
    Fit,
    Outputs,
    best_of_rows,
    from_distances,
    grid,
    plain,
    strides_of,
)

LAYOUT = "(1, cells of the grids, classes + 32)"
BINS = 8  # of a distance where the classes are not named: all published networks have 8


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shape = outputs.only()
    strides = strides_of(outputs.size, shape[1]) if shape else None
    if strides is None:
        return None
    classes = outputs.classes or shape[2] - 4 * BINS
    if classes < 1 or shape[2] - classes < 8 or (shape[2] - classes) % 4:
        return None
    at, steps = grid(outputs.size, strides)
    middles = (at + np.float32(0.5 if len(strides) == 3 else 0)) * steps
    return Fit(lambda arrays, conf: _decode(arrays, conf, classes, middles, steps), classes)


def _decode(arrays: Sequence[Array], conf: float, classes: int, middles: Array, steps: Array) -> Candidates:
    """A score is that of the best class. middles : (N, 2) in pixels, from which distances count"""
    rows = plain(arrays[0])
    places, kinds, scores = best_of_rows(rows, 0, classes, conf)
    boxes = from_distances(middles[places], rows[places, classes:], steps[places])
    return Candidates(boxes, scores, kinds)
