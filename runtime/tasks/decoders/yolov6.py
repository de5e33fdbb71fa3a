"""YOLOv6: (1, cells, 5 + C), a row for each cell of three or four grids, as YOLOv5 has them: decoded, with an object that is 1.

Other networks without anchors that decode their boxes are the same; those of YOLOX are in logarithms, see `yolox`.
Source: meituan/YOLOv6, yolov6/models/effidehead.py, `Detect` as `deploy/ONNX/export_onnx.py` writes it.
"""

from __future__ import annotations

from alula.runtime.tasks.decoders.yolov5 import decode
from alula.runtime.tasks.decoding import Fit, Outputs, strides_of

LAYOUT = "(1, cells of the grids, 5 + classes), decoded"


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shape = outputs.only()
    if not shape or not strides_of(outputs.size, shape[1]):
        return None
    return Fit(decode, shape[2] - 5) if outputs.are(shape[2] - 5, shape[1]) else None
