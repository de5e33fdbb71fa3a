"""Masks of YOLO26 and of Ultralytics' exports with `nms=True`: (1, N, 6 + M), a row a box, and prototypes (1, M, h, w).

A row is that of `end_to_end`, then factors as in `yolov8_segment`. Source: ultralytics/nn/modules/head.py, `Segment`.
"""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Array
from alula.runtime.tasks.decoders import end_to_end
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, with_prototypes

LAYOUT = "(1, N, 6 + M) and (1, M, h, w)"


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    found = outputs.with_prototypes()
    if not found or found[0][2] != 6 + found[1][1] or found[0][1] > end_to_end.MAX_BOXES:
        return None
    return Fit(_decode, None, is_apart=True)


def _decode(arrays: Sequence[Array], conf: float) -> Candidates:
    """Empty rows have the score 0."""
    return with_prototypes(arrays, lambda rows: end_to_end.decode([rows], conf))
