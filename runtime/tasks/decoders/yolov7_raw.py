"""YOLOv7 without its last step: as `yolov5_raw`, with YOLOv7's anchors for COCO where the file has none.

Source: WongKinYiu/yolov7, cfg/deploy/yolov7.yaml and yolov7-w6.yaml.
"""

from __future__ import annotations

from alula.runtime.tasks.decoders.yolov5_raw import fit_anchors
from alula.runtime.tasks.decoding import Fit, Outputs

LAYOUT = "(1, A, h, w, 5 + classes) or (1, A * (5 + classes), h, w) of each grid"
COCO = {
    3: (12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401),
    4: (19, 27, 44, 40, 38, 94, 96, 68, 86, 152, 180, 137, 140, 301, 303, 264, 238, 542, 436, 615, 739, 380, 925, 792),
}


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    return fit_anchors(outputs, COCO)
