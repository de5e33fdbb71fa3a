"""YOLOv5 and v7: (1, N, 5 + C), a row a box, for each cell of three grids usually three.

A row is centre x, centre y, width, height in pixels, how likely there is an object, and of each class how likely it is that one.
Source: ultralytics/yolov5, models/yolo.py, `Detect` as `export.py` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, best_of_rows, from_centres, plain, strides_of

LAYOUT = "(1, 3 * cells of the grids, 5 + classes)"
OBJECT = 4  # the column of the object


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shape = outputs.only()
    if not shape or strides_of(outputs.size, shape[1]):  # one box for each cell: YOLOX or YOLOv6
        return None
    return Fit(decode, shape[2] - 5) if outputs.are(shape[2] - 5, shape[1]) else None


def decode(arrays: Sequence[Array], conf: float) -> Candidates:
    """A score is that of the object times that of its best class."""
    rows = plain(arrays[0])
    places, kinds, best = best_of_rows(rows, 5, rows.shape[1] - 5, conf, OBJECT)
    return Candidates(from_centres(rows[places, :4].T), rows[places, OBJECT] * best, kinds)
