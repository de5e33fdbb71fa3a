"""Where an image lies in a network's input, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.data import Preprocessing

SIZES = [(10, 20), (20, 10), (7, 7), (64, 96), (333, 500), (1, 9)]


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "corner", "crop"])
@pytest.mark.parametrize("image", SIZES)
def test_the_seen_part_of_the_input_is_the_seen_part_of_the_image(resize: str, image: tuple[int, int]) -> None:
    how = Preprocessing(size=(64, 96), resize=resize, crop=0.9)
    place = how.placement(*image)
    (top, left, rows, columns), (to_top, to_left, to_rows, to_columns) = place.source, place.target
    inside = np.array([[to_left, to_top, to_left + to_columns, to_top + to_rows]], np.float32)
    np.testing.assert_allclose(place.to_image(inside), [[left, top, left + columns, top + rows]], rtol=1e-6)
    assert place.to_image(np.array([[-1e6, -1e6, 1e6, 1e6]])).tolist() == [[0, 0, image[1], image[0]]]
    shares = rng_boxes(9)
    boxes = np.array([left, top] * 2) + shares * np.array([columns, rows] * 2)
    there = np.array([to_left, to_top] * 2) + shares * np.array([to_columns, to_rows] * 2)
    np.testing.assert_allclose(place.to_image(there), boxes, rtol=1e-5, atol=1e-3)


def rng_boxes(n: int) -> np.ndarray:
    return np.sort(np.random.default_rng(n).uniform(0, 1, (n, 2, 2)), axis=1).reshape(n, 4)


def test_a_bright_spot_is_found_where_it_was() -> None:
    pytest.importorskip("cv2")
    image = np.zeros((120, 90, 3), np.uint8)
    image[40:60, 30:50] = 255
    for resize in ("stretch", "letterbox", "corner"):
        how = Preprocessing(size=(64, 96), resize=resize)
        seen = how.fit(image)
        rows, columns = np.nonzero((seen > 200).all(axis=2))
        spot = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
        np.testing.assert_allclose(how.placement(120, 90).to_image(spot), [[30, 40, 50, 60]], atol=2)
    corner = Preprocessing(size=(64, 96), resize="corner").fit(image)
    assert (corner[:, 48:] == 114).all() and not (corner[:, :47] == 114).any()
