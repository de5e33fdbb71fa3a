"""Masks of YOLOv8 and 11 of Ultralytics, also of YOLOv9: (1, 4 + C + M, N), a column a box, and prototypes (1, M, h, w).

After centre x, centre y, width, height in pixels and the classes' scores come the factors by which the prototypes add up to a mask.
Source: ultralytics/nn/modules/head.py, `Segment`; Bolya et al., "YOLACT", ICCV 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, boxes_of_columns, plain, with_prototypes

LAYOUT = "(1, 4 + classes + M, N) and (1, M, h, w)"


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    found = outputs.with_prototypes()
    if not found:
        return None
    (_, numbers, n), (_, prototypes, _, _) = found
    classes = numbers - 4 - prototypes
    return Fit(partial(_decode, classes), classes) if outputs.are(classes, n) else None


def _decode(classes: int, arrays: Sequence[Array], conf: float) -> Candidates:
    """A score is that of the best class."""
    return with_prototypes(arrays, lambda columns: boxes_of_columns(plain(columns), conf, classes))
