"""YOLOv8, v9, 11 and 12 of Ultralytics: (1, 4 + C, N), a column a box.

A column is centre x, centre y, width, height in pixels, and of each class how likely it is that one.
Source: ultralytics/nn/modules/head.py, `Detect`.
"""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, boxes_of_columns, plain

LAYOUT = "(1, 4 + classes, N)"


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shape = outputs.only()
    return Fit(decode, shape[1] - 4) if shape and outputs.are(shape[1] - 4, shape[2]) else None


def decode(arrays: Sequence[Array], conf: float) -> Candidates:
    """A score is that of the best class."""
    return boxes_of_columns(plain(arrays[0]), conf)
