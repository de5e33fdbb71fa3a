"""Text boxes from probability maps."""

from __future__ import annotations

import numpy as np
import pytest

from alula.device.tasks.boxes import BoxConfig, find_boxes, order_corners, quad_size
from alula.runtime.data.opencv import opencv

cv2 = opencv("these tests")


def blob(centre: tuple[float, float], size: tuple[float, float], angle: float, value: float = 0.9) -> np.ndarray:
    """A map (160, 200) with one tilted rectangle."""
    probability = np.zeros((160, 200), np.float32)
    corners = cv2.boxPoints((centre, size, angle))
    cv2.fillPoly(probability, [np.round(corners).astype(np.int32)], value)
    return probability


@pytest.mark.parametrize("angle", [-80, -45, -14, 0, 9, 30, 88])
def test_a_rectangle_is_found_where_it_is_and_grown_by_area_over_perimeter(angle: float) -> None:
    (box,) = find_boxes(blob((100, 80), (70, 14), angle), BoxConfig(dilate=False))
    assert np.abs(box.centre - (100, 80)).max() < 1.5
    grow = 2 * 70 * 14 * 1.6 / (2 * (70 + 14))
    width, height = box.size
    assert abs(width - (70 + grow)) < 4 and abs(height - (14 + grow)) < 4
    assert 0.75 < box.score <= 0.9


@pytest.mark.parametrize("angle", range(-175, 180, 25))
def test_corners_begin_at_the_top_left_of_text_that_reads_rightwards(angle: float) -> None:
    quad = order_corners(cv2.boxPoints(((50, 50), (60, 20), angle)))
    along = quad[1] - quad[0]
    down = quad[3] - quad[0]
    assert along[0] > -1e-3  # never leftwards
    assert np.linalg.norm(along) == pytest.approx(60, abs=0.1)
    assert along[0] * down[1] - along[1] * down[0] > 0  # clockwise as seen
    assert quad_size(quad) == pytest.approx((60, 20), abs=0.1)


def test_corner_order_does_not_depend_on_where_the_walk_begins_or_which_way_it_goes() -> None:
    quad = cv2.boxPoints(((50, 50), (60, 20), 12))
    expected = order_corners(quad)
    for shift in range(4):
        for walk in (np.roll(quad, shift, axis=0), np.roll(quad, shift, axis=0)[::-1]):
            assert np.allclose(order_corners(walk), expected)


def test_two_blobs_are_two_boxes_with_the_surer_first() -> None:
    found = find_boxes(np.maximum(blob((50, 40), (60, 14), 0, 0.7), blob((140, 120), (60, 14), 5, 0.95)))
    assert [round(float(box.centre[0]), -1) for box in found] == [140, 50]


def test_weak_small_and_meaningless_answers_give_no_box() -> None:
    assert find_boxes(blob((100, 80), (70, 14), 0, 0.4)) == []  # over the threshold of the mask, under that of the box
    assert find_boxes(blob((100, 80), (2, 1), 0), BoxConfig(dilate=False)) == []
    assert find_boxes(np.zeros((64, 64), np.float32)) == []
    assert find_boxes(np.full((64, 64), np.nan, np.float32)) == []


def test_noise_ends_in_finite_time_and_boxes() -> None:
    rng = np.random.default_rng(3)
    assert len(find_boxes(rng.random((480, 640), np.float32))) <= 1000


def test_boxes_at_the_border_do_not_fail() -> None:
    (box,) = find_boxes(blob((2, 2), (80, 30), 20))
    assert np.isfinite(box.quad).all()
