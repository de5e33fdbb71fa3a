"""How far the ground moved."""

from __future__ import annotations

import numpy as np
import pytest

from alula.device.tasks.motion import Motion
from alula.runtime.data.opencv import opencv

cv2 = opencv("these tests")


def ground() -> np.ndarray:
    rng = np.random.default_rng(8)
    return cv2.resize(rng.integers(0, 255, (90, 120, 3), np.uint8), (1200, 900), interpolation=cv2.INTER_CUBIC)


def view(x: int, y: int) -> np.ndarray:
    return np.ascontiguousarray(ground()[y : y + 480, x : x + 640])


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (40, 0), (-60, 24), (8, -80)])
def test_a_shift_is_found_to_some_pixels(dx: int, dy: int) -> None:
    motion = Motion()
    assert motion.shift(view(200, 200)) is None  # nothing to compare with
    assert motion.shift(view(200 + dx, 200 + dy)) == pytest.approx((-dx, -dy), abs=4)


def test_a_turn_a_cut_another_size_and_no_texture_have_no_answer() -> None:
    motion = Motion()
    motion.shift(view(200, 200))
    assert motion.shift(np.rot90(view(200, 200), 2).copy()) is None
    assert motion.shift(np.full((480, 640, 3), 90, np.uint8)) is None
    assert motion.shift(np.zeros((480, 640, 3), np.uint8)) is None
    assert motion.shift(view(0, 0)[:240, :300].copy()) is None


@pytest.mark.parametrize("shape", [(1, 1), (60_000, 1), (1, 60_000)])
def test_an_image_of_any_shape_is_taken(shape: tuple[int, int]) -> None:
    motion = Motion()
    for _ in range(2):
        motion.shift(np.zeros((*shape, 3), np.uint8))
