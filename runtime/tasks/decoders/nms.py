"""Networks that end in NonMaxSuppression, as exporters write them: nothing is left to drop.

* (K, 7): rows of image, left, top, right, bottom, class, score (YOLOv7's `--end2end --max-wh`);
* boxes (K, 4) of left, top, right, bottom, labels (K,) in whole numbers and scores (K,), in any order (torchvision);
* the number of boxes (1, 1), boxes (1, K, 4), scores (1, K), classes (1, K) (plug-ins of TensorRT, also as ONNX).
All in pixels of the input. Where K depends on the image, the decoder is chosen when the first one has been seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, numbers_of

LAYOUT = "(K, 7), or boxes (K, 4), labels (K,) and scores (K,), or a count with those for one image"
WHOLE = ("int32", "int64", "uint8")


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    shapes, dtypes = outputs.shapes, outputs.dtypes
    if len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][1] == 7:
        return Fit(_decode_rows, None, is_apart=True)
    if len(shapes) == 3:
        roles = [_role(shape, dtype) for shape, dtype in zip(shapes, dtypes)]
        if sorted(roles) == ["boxes", "labels", "scores"] and len({shape[0] for shape in shapes}) == 1:
            a, b, c = (roles.index(role) for role in ("boxes", "scores", "labels"))
            return Fit(lambda arrays, conf: _chosen(arrays[a], arrays[b], arrays[c], conf), None, is_apart=True)
    if len(shapes) == 4 and shapes[0] == (1, 1) and len(shapes[1]) == 3 and shapes[1][::2] == (1, 4):
        if shapes[2] == shapes[3] == (1, shapes[1][1]):
            return Fit(_decode_counted, None, is_apart=True)
    return None


def _role(shape: tuple[int, ...], dtype: str) -> str:
    if len(shape) == 2 and shape[1] == 4:
        return "boxes"
    return "" if len(shape) != 1 else "labels" if dtype in WHOLE else "scores"


def _decode_rows(arrays: Sequence[Array], conf: float) -> Candidates:
    rows = np.asarray(arrays[0])
    return _chosen(rows[:, 1:5], rows[:, 6], rows[:, 5], conf)


def _decode_counted(arrays: Sequence[Array], conf: float) -> Candidates:
    count = max(0, int(np.nan_to_num(arrays[0][0, 0])))
    boxes, scores, labels = (array[0, :count] for array in arrays[1:])
    return _chosen(boxes, scores, labels, conf)


def _chosen(boxes: Array, scores: Array, labels: Array, conf: float) -> Candidates:
    scores = np.asarray(scores, np.float32)
    above = scores > np.float32(conf)
    return Candidates(np.asarray(boxes, np.float32)[above], scores[above], numbers_of(labels[above]))
