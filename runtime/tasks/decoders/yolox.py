"""YOLOX: (1, N, 5 + C), a row for each cell of three grids.

A row is x, y, width, height, how likely there is an object, and of each class how likely it is that one. Boxes are relative to the
cell, sizes logarithms, unless the export decodes them (`--decode_in_inference`): then the network has an Exp, which nothing else needs.
Source: Megvii-BaseDetection/YOLOX, yolox/utils/demo_utils.py, `demo_postprocess`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, best_of_rows, from_centres, grid, plain, strides_of

LAYOUT = "(1, cells of the grids, 5 + classes)"
OBJECT = 4  # the column of the object


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shape = outputs.only()
    strides = strides_of(outputs.size, shape[1]) if shape else None
    if strides is None or not outputs.are(shape[2] - 5, shape[1]):
        return None
    cells = None if "Exp" in outputs.ops else grid(outputs.size, strides)
    return Fit(lambda arrays, conf: _decode(arrays, conf, cells), shape[2] - 5)


def _decode(arrays: Sequence[Array], conf: float, cells: tuple[Array, Array] | None) -> Candidates:
    """A score is that of the object times that of its best class. cells : places and strides; None if boxes are decoded"""
    rows = plain(arrays[0])
    places, kinds, best = best_of_rows(rows, 5, rows.shape[1] - 5, conf, OBJECT)
    scores = rows[places, OBJECT] * best
    boxes = rows[places, :4]
    if cells is not None:
        at, strides = cells[0][places], cells[1][places]
        with np.errstate(over="ignore"):  # what is not finite is no box
            boxes = np.concatenate([(boxes[:, :2] + at) * strides, np.exp(boxes[:, 2:]) * strides], axis=1)
    return Candidates(from_centres(boxes.T), scores, kinds)
