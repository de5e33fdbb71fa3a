"""Poses of YOLO26 and of Ultralytics' exports with `nms=True`: (1, N, 6 + K * D), a row a box, without suppression.

A row is that of `end_to_end`, then K points as in `yolov8_pose`. Source: ultralytics/nn/modules/head.py, `Pose`.
"""

from __future__ import annotations

from alula.runtime.tasks.decoders.end_to_end import MAX_BOXES, decode
from alula.runtime.tasks.decoding import Fit, Outputs

LAYOUT = "(1, N, 6 + 3 * points)"


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shape = outputs.only()
    fits = shape and shape[1] <= MAX_BOXES and outputs.are_points(shape[2] - 6, shape[1])
    return Fit(decode, None, is_apart=True) if fits else None
