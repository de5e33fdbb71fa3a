"""Poses of YOLOv8 and 11 of Ultralytics: (1, 4 + C + K * D, N), a column a box.

After centre x, centre y, width, height in pixels and the classes' scores come K points: x and y in pixels, and with D = 3 how likely the
point is seen. If it is not known how many there are, a point has three numbers.
Source: ultralytics/nn/modules/head.py, `Pose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, boxes_of_columns, plain

LAYOUT = "(1, 4 + classes + 3 * points, N)"


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shape = outputs.only()
    classes = outputs.classes or 1
    fits = shape and outputs.are_points(shape[1] - 4 - classes, shape[2])
    return Fit(partial(_decode, classes), classes) if fits else None


def _decode(classes: int, arrays: Sequence[Array], conf: float) -> Candidates:
    """A score is that of the best class."""
    return boxes_of_columns(plain(arrays[0]), conf, classes)
