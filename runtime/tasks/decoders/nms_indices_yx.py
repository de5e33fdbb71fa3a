"""As `nms_indices`, with boxes of y, x, y, x, as ONNX has them and exporters from TensorFlow write them, in pixels.

Source: ONNX, `NonMaxSuppression`, center_point_box 0.
"""

from __future__ import annotations

from alula.runtime.tasks.decoders.nms_indices import fit_order
from alula.runtime.tasks.decoding import Fit, Outputs

LAYOUT = "(K, 3), boxes (1, N, 4) of y, x, y, x and scores (1, classes, N)"


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    return fit_order(outputs, (1, 0, 3, 2))
