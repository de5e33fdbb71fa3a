"""From the detector's probability map to text boxes: the post-processing of differentiable binarization (DB).

Source: Liao et al., "Real-time scene text detection with differentiable binarization", AAAI 2020, section 3.5, with the
constants that PaddleOCR ships with PP-OCRv4. The detector is trained on shrunk text regions; a box is enlarged by
area * ratio / perimeter. On a rectangle this moves every side outwards, so no polygon library is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alula.runtime.data.opencv import opencv

Floats = NDArray[np.float32]

SMALLEST_SIDE = 3.0  # pixels of the map, before growing
LARGEST_COUNT = 1000  # a map full of noise must not take minutes


@dataclass(frozen=True)
class BoxConfig:
    """Thresholds of the post-processing, 0 to 1 but for `unclip`, which is the factor of growing back."""

    threshold: float = 0.3
    box_threshold: float = 0.5
    unclip: float = 1.6
    dilate: bool = True


@dataclass(frozen=True, eq=False)
class Box:
    """One text region.

    quad  : (4, 2) float32, x y of the corners, clockwise from the top left as the text is seen
    score : mean probability inside, 0 to 1
    """

    quad: Floats
    score: float

    @property
    def centre(self) -> Floats:
        """(2,) x y."""
        centre: Floats = self.quad.mean(axis=0)
        return centre

    @property
    def size(self) -> tuple[float, float]:
        """Width and height along the sides."""
        return quad_size(self.quad)


def find_boxes(probability: Floats, config: BoxConfig | None = None) -> list[Box]:
    """The text boxes of one probability map, best score first.

    probability : (H, W) float32, 0 to 1; values that are not finite count as 0
    return      : boxes in pixels of the map
    """
    config = config or BoxConfig()
    cv2 = opencv("text boxes")
    probability = np.nan_to_num(np.asarray(probability, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    mask = (probability > config.threshold).astype(np.uint8)
    if config.dilate:
        mask = cv2.dilate(mask, np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for contour in contours[:LARGEST_COUNT]:
        centre, (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < SMALLEST_SIDE:
            continue
        score = _mean_inside(probability, cv2.boxPoints((centre, (width, height), angle)))
        if score < config.box_threshold:
            continue
        grow = 2.0 * width * height * config.unclip / (2.0 * (width + height))  # both sides
        quad = cv2.boxPoints((centre, (width + grow, height + grow), angle))
        boxes.append(Box(order_corners(quad), score))
    return sorted(boxes, key=lambda box: -box.score)


def order_corners(quad: Floats) -> Floats:
    """The corners of a rectangle, clockwise, beginning so that the first side is the reading direction.

    quad   : (4, 2), in the order of a walk around the rectangle
    return : (4, 2) float32; the first side is a long one, running rightwards (downwards if it is upright)
    """
    quad = np.asarray(quad, np.float32)
    edge = np.roll(quad, -1, axis=0) - quad  # (4, 2)
    if edge[0, 0] * edge[1, 1] - edge[0, 1] * edge[1, 0] < 0.0:  # y points down: clockwise as seen is positive
        quad = quad[::-1]
        edge = np.roll(quad, -1, axis=0) - quad
    length = np.hypot(edge[:, 0], edge[:, 1])
    # Nearly square boxes (one or two letters) are read level; clearly upright ones along their long side.
    if max(length[0], length[1]) < 1.5 * min(length[0], length[1]):
        along = edge[:, 0] / np.maximum(length, 1e-6)
    else:
        along = np.where(length >= 0.99 * length.max(), edge[:, 0] + 1e-3 * edge[:, 1], -np.inf)
    return np.roll(quad, -int(np.argmax(along)), axis=0)


def quad_size(quad: Floats) -> tuple[float, float]:
    """Mean width and mean height of a quad (4, 2) whose first side is its top."""
    side = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    return float(side[0] + side[2]) / 2.0, float(side[1] + side[3]) / 2.0


def _mean_inside(probability: Floats, quad: Floats) -> float:
    cv2 = opencv("text boxes")
    height, width = probability.shape
    left, top = np.clip(np.floor(quad.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    right, bottom = np.clip(np.ceil(quad.max(axis=0)).astype(int), 0, (width - 1, height - 1))
    inside = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(inside, [(quad - (left, top)).astype(np.int32)], 1)
    if not inside.any():
        return 0.0
    return float(probability[top : bottom + 1, left : right + 1][inside > 0].mean())
