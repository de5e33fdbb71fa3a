"""Frames and crops as the networks want them."""

from __future__ import annotations

import numpy as np
import pytest

from alula.device.tasks.crops import crop_quad, detector_input, detector_size, normalise
from alula.runtime.data.opencv import opencv

cv2 = opencv("these tests")


def test_pixels_become_minus_one_to_one_and_padding_zero() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    image[..., 1], image[..., 2] = 255, 51
    batch = normalise([image, image[:2, :3]], 6, 8)
    assert batch.shape == (2, 3, 6, 8) and batch.dtype == np.float32
    assert np.allclose(batch[0, :, 0, 0], [-1, 1, -0.6]) and not batch[0, :, 4:].any() and not batch[0, :, :, 5:].any()
    assert not batch[1, :, 2:].any() and not batch[1, :, :, 3:].any()


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((480, 640), 640, (480, 640)),
        ((1080, 1920), 640, (384, 640)),
        ((100, 70), 640, (128, 96)),
        ((10, 3000), 640, (32, 640)),
    ],
)
def test_the_detector_sees_multiples_of_32_and_nothing_enlarged(
    size: tuple[int, int], long_side: int, expected: tuple[int, int]
) -> None:
    assert detector_size(size, long_side) == expected
    batch, scale = detector_input(np.full((*size, 3), 255, np.uint8), expected)
    assert batch.shape == (1, 3, *expected) and 0 < scale <= 1
    shown = (batch[0, 0] != 0).sum()
    assert shown == pytest.approx(size[0] * scale * size[1] * scale, rel=0.6)
    assert round(size[0] * scale) <= expected[0] and round(size[1] * scale) <= expected[1]


@pytest.mark.parametrize("angle", [-40, 0, 15, 170])
@pytest.mark.parametrize("height", [12, 40, 150])
def test_a_tilted_box_comes_out_level(angle: float, height: int) -> None:
    board = np.zeros((height, 4 * height, 3), np.uint8)
    board[:, : 2 * height] = (0, 0, 255)
    board[:, 2 * height :] = (0, 255, 0)
    side = 7 * height
    turn = cv2.getRotationMatrix2D((2 * height, height / 2), angle, 1.0)
    turn[:, 2] += (side / 2 - 2 * height, side / 2 - height / 2)
    image = cv2.warpAffine(board, turn, (side, side))
    corners = np.array([[0, 0], [4 * height, 0], [4 * height, height], [0, height]], np.float32)
    quad = (corners @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    crop = crop_quad(image, quad, 640)
    assert crop.shape[0] == 48 and abs(crop.shape[1] - 192) <= 1
    assert crop[10:38, 10:80].reshape(-1, 3).mean(axis=0) == pytest.approx([0, 0, 255], abs=12)
    assert crop[10:38, 110:180].reshape(-1, 3).mean(axis=0) == pytest.approx([0, 255, 0], abs=12)


def test_very_long_text_is_squeezed_and_a_flat_box_survives() -> None:
    image = np.zeros((100, 2000, 3), np.uint8)
    long = np.array([[0, 0], [2000, 0], [2000, 30], [0, 30]], np.float32)
    assert crop_quad(image, long, 640).shape == (48, 640, 3)
    flat = np.array([[5, 5], [60, 5], [60, 5.2], [5, 5.2]], np.float32)
    assert crop_quad(image, flat, 640).shape[0] == 48


def test_a_box_is_cut_out_of_an_image_longer_than_a_warp_takes() -> None:
    image = np.zeros((60, 40_000, 3), np.uint8)
    image[10:50, 39_000:39_160] = (0, 0, 255)
    quad = np.array([[39_000, 10], [39_160, 10], [39_160, 50], [39_000, 50]], np.float32)
    crop = crop_quad(image, quad, 640)
    assert crop.shape == (48, 192, 3) and crop[8:40, 8:184].reshape(-1, 3).mean(axis=0) == pytest.approx(
        [0, 0, 255], abs=4
    )
    whole = np.array([[0, 0], [40_000, 0], [40_000, 60], [0, 60]], np.float32)
    assert crop_quad(image, whole, 640).shape == (48, 640, 3)
    tall = np.array([[0, 0], [30_000, 0], [30_000, 60_000], [0, 60_000]], np.float32)
    assert crop_quad(image, tall, 640).shape[0] == 48
