"""YOLOv10, YOLO26 and other networks that choose their boxes themselves: (1, N, 6), a row a box, without suppression.

A row is left, top, right, bottom in pixels, the score, the class. Ultralytics' exports with `nms=True` are the same.
Source: ultralytics/nn/modules/head.py, `Detect.postprocess`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, numbers_of, plain, with_details

LAYOUT = "(1, N, 6)"
MAX_BOXES = 4096  # more are the cells of a network with one class


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shape = outputs.only()
    return Fit(decode, None, is_apart=True) if shape[2:] == (6,) and shape[1] <= MAX_BOXES else None


def decode(arrays: Sequence[Array], conf: float) -> Candidates:
    """Empty rows have the score 0. What follows the class are details."""
    rows = plain(arrays[0])
    rows = rows[rows[:, 4] > np.float32(conf)]
    found = Candidates(rows[:, :4], rows[:, 4], numbers_of(rows[:, 5]))
    return with_details(found, rows[:, 6:]) if rows.shape[1] > 6 else found
