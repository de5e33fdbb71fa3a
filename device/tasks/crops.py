"""Images for the networks: a frame for the detector, level crops for the classifier and the recogniser."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alula.device.camera.source import Image
from alula.device.tasks.boxes import Floats, quad_size
from alula.runtime.data.opencv import opencv

CROP_HEIGHT = 48  # pixels: what both the classifier and the recogniser of PP-OCR take
STRIDE = 32  # the detector halves its input five times
MAX_WARP = 32_000  # pixels along a side: OpenCV's warp has 16-bit coordinates
MAX_TEXT = 16 * CROP_HEIGHT  # pixels: higher text is made smaller before it is cut


def normalise(images: Sequence[Image], height: int, width: int) -> Floats:
    """Stack images for a network, padded on the right and below with the mid-grey that the networks know as zero.

    images : (h, w, 3) uint8, h <= height and w <= width
    return   : (N, 3, height, width) float32, -1 to 1
    """
    batch = np.zeros((len(images), 3, height, width), np.float32)
    for row, image in zip(batch, images, strict=True):
        h, w = image.shape[:2]
        row[:, :h, :w] = image.transpose(2, 0, 1)
        row[:, :h, :w] *= np.float32(1.0 / 127.5)
        row[:, :h, :w] -= np.float32(1.0)
    return batch


def detector_size(image_size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Height and width of the detector's input for frames of (height, width): a multiple of 32, never enlarged."""
    height, width = image_size
    scale = min(1.0, long_side / max(height, width))
    return tuple(max(STRIDE, STRIDE * math.ceil(side * scale / STRIDE)) for side in (height, width))  # type: ignore[return-value]


def detector_input(image: Image, size: tuple[int, int]) -> tuple[Floats, float]:
    """The detector's input for one frame, and the factor from frame to input pixels.

    return : (1, 3, *size) float32, and the scale (the same along both sides: text is not squeezed)
    """
    cv2 = opencv("text spotting")
    height, width = image.shape[:2]
    scale = min(1.0, size[0] / height, size[1] / width)
    if scale < 1.0:
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    return normalise([image], *size), scale


def crop_quad(image: Image, quad: Floats, widest: int) -> Image:
    """Cut a text box out of a frame and lay it level.

    quad   : (4, 2) float32, corners in pixels of the image, clockwise from the text's top left
    widest : longer texts are squeezed to this width, pixels
    return : (48, W, 3) uint8
    """
    cv2 = opencv("text spotting")
    if max(image.shape[:2]) > MAX_WARP or quad_size(quad)[1] > MAX_TEXT:
        image, quad = _around(image, quad)
    width, height = quad_size(quad)
    crop_width = int(np.clip(math.ceil(CROP_HEIGHT * width / max(height, 1.0)), 8, widest))
    # Much larger text is cut at its own size first: a warp alone would skip pixels.
    oversize = max(1, round(height / CROP_HEIGHT))
    target = (crop_width * oversize, CROP_HEIGHT * oversize)
    corners = np.array([[0, 0], [target[0], 0], [target[0], target[1]], [0, target[1]]], np.float32)
    matrix = cv2.getPerspectiveTransform(np.ascontiguousarray(quad, np.float32), corners)
    crop: Image = cv2.warpPerspective(image, matrix, target, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if oversize > 1:
        crop = cv2.resize(crop, (crop_width, CROP_HEIGHT), interpolation=cv2.INTER_AREA)
    return crop


def _around(image: Image, quad: Floats) -> tuple[Image, Floats]:
    """The part of an image around a box, made so small that it and its text are no longer than the limits; the box in it."""
    cv2 = opencv("text spotting")
    height, width = image.shape[:2]
    low = np.clip(np.floor(quad.min(axis=0)).astype(int) - 4, 0, (width - 1, height - 1))
    high = np.maximum(np.ceil(quad.max(axis=0)).astype(int) + 4, low + 1)
    part = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
    shrink = max(1, math.ceil(max(part.shape[:2]) / MAX_WARP), math.ceil(quad_size(quad)[1] / MAX_TEXT))
    shape = tuple(max(1, round(side / shrink)) for side in (part.shape[1], part.shape[0]))
    factors = np.array(shape, np.float32) / (part.shape[1], part.shape[0])
    small: Image = cv2.resize(part, shape, interpolation=cv2.INTER_AREA) if shrink > 1 else part
    return small, ((quad - low) * factors).astype(np.float32)


def squeeze(crop: Image, width: int) -> Image:
    """A crop no wider than `width`; narrower ones stay as they are."""
    if crop.shape[1] <= width:
        return crop
    cv2 = opencv("text spotting")
    squeezed: NDArray[np.uint8] = cv2.resize(crop, (width, crop.shape[0]), interpolation=cv2.INTER_AREA)
    return squeezed
