"""What is drawn under the boxes of a video: masks and key points. Each gives a function for `AnnotatedVideo.watch_boxes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from alula.device.camera.source import Image
from alula.runtime.data.opencv import opencv
from alula.runtime.graph import Array
from alula.runtime.tasks.masks import Mask

# (image, scale, (x, y)): a pixel of the frame lies at scale * pixel + (x, y) of the image, which is drawn on
Paint = Callable[[Image, float, tuple[int, int]], None]
INKS = ((60, 220, 60), (220, 120, 40), (40, 120, 240), (200, 60, 200), (40, 220, 220), (220, 220, 40))  # blue green red
COVER = 0.45  # of a mask's ink over the image
POINT, LINE = (40, 40, 240), (240, 200, 60)


def paint_masks(masks: Sequence[Mask], classes: Array) -> Paint:
    """Masks (of the frame), in a colour for each class."""

    def paint(image: Image, scale: float, corner: tuple[int, int]) -> None:
        cv2 = opencv("an annotated video")
        for mask, kind in zip(reversed(masks), reversed(classes.tolist()), strict=True):
            if not mask.pixels.size:
                continue
            h, w = mask.pixels.shape
            left, top = round(mask.left * scale) + corner[0], round(mask.top * scale) + corner[1]
            size = (max(1, round(w * scale)), max(1, round(h * scale)))
            pixels = cv2.resize(mask.pixels.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            part = image[top : top + size[1], left : left + size[0]]
            inside = pixels[: part.shape[0], : part.shape[1]] > 0
            part[inside] = (part[inside] * (1 - COVER) + np.array(INKS[kind % len(INKS)]) * COVER).astype(np.uint8)

    return paint


def paint_points(points: Array, seen: Array, lines: Sequence[tuple[int, int]]) -> Paint:
    """Key points (N, K, 2 or 3) of the frame that are seen (N, K), and the lines between pairs of them."""

    def paint(image: Image, scale: float, corner: tuple[int, int]) -> None:
        cv2 = opencv("an annotated video")
        places = np.round(points[:, :, :2] * scale + np.array(corner)).astype(int).tolist()
        for own, good in zip(places, seen, strict=True):
            for a, b in lines:
                if good[a] and good[b]:
                    cv2.line(image, own[a], own[b], LINE, 2, cv2.LINE_AA)
            for place in np.flatnonzero(good):
                cv2.circle(image, own[place], 3, POINT, -1, cv2.LINE_AA)

    return paint
