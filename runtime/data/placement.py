"""Which part of an image a network sees, and where in its input that part lies: there and back."""

from __future__ import annotations

import numpy as np

from alula.runtime.data.dataset import Array
from alula.runtime.frozen import frozen


@frozen
class Placement:
    """A part of an image, scaled to a part of a network's input.

    image  : (H, W) of the whole image
    source : (top, left, rows, columns) of the image that are seen
    target : (top, left, rows, columns) of the input that they fill; around it is border
    """

    image: tuple[int, int]
    source: tuple[int, int, int, int]
    target: tuple[int, int, int, int]

    def to_image(self, boxes: Array) -> Array:
        """Boxes of the input as boxes of the image, within its edges.

        boxes  : (N, 4) of left, top, right, bottom; a pixel is from 0 to 1
        return : (N, 4) float32
        """
        return self.points_to_image(boxes.reshape(-1, 2, 2)).reshape(-1, 4)

    def points_to_image(self, points: Array) -> Array:
        """Points (..., 2) of the input, x and y, as points of the image, within its edges; float32."""
        (top, left, rows, columns), (to_top, to_left, to_rows, to_columns) = self.source, self.target
        moved = (points - np.array([to_left, to_top])) * np.array([columns / to_columns, rows / to_rows]) + np.array(
            [left, top]
        )
        height, width = self.image
        clipped: Array = np.clip(moved, 0, [width, height]).astype(np.float32)
        return clipped

    def to_input(self, across: Array, down: Array) -> tuple[Array, Array]:
        """Where x (N,) and y (M,) of the image lie in the input."""
        (top, left, rows, columns), (to_top, to_left, to_rows, to_columns) = self.source, self.target
        return (across - left) * (to_columns / columns) + to_left, (down - top) * (to_rows / rows) + to_top


def place(image: tuple[int, int], size: tuple[int, int], resize: str, crop: float) -> Placement:
    """How an image reaches a size.

    image, size : (H, W)
    resize      : stretch, letterbox, corner or crop, as `Preprocessing` has them
    """
    (height, width), (h, w) = image, size
    whole = (0, 0, height, width)
    if resize == "stretch":
        return Placement(image, whole, (0, 0, h, w))
    if resize == "crop":
        factor = crop * min(height / h, width / w)
        rows, columns = max(1, min(height, round(h * factor))), max(1, min(width, round(w * factor)))
        return Placement(image, ((height - rows) // 2, (width - columns) // 2, rows, columns), (0, 0, h, w))
    factor = min(h / height, w / width)
    rows, columns = min(h, max(1, round(height * factor))), min(w, max(1, round(width * factor)))
    top, left = (0, 0) if resize == "corner" else ((h - rows) // 2, (w - columns) // 2)
    return Placement(image, whole, (top, left, rows, columns))
