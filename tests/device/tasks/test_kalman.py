"""Filters of boxes: against the matrix form of a Kalman filter, and what they expect of a covered box."""

from __future__ import annotations

import numpy as np
import pytest

from alula.device.tasks.kalman import COVARIANCE, PLACE, PLACE_VARIANCE, RATE, RATE_VARIANCE, BoxFilters, Noise, measure


def box(x: float, y: float, width: float = 40.0, height: float = 20.0) -> np.ndarray:
    return np.array([[x - width / 2, y - height / 2, x + width / 2, y + height / 2]])


def test_a_measurement_and_the_box_of_its_filter_are_inverse() -> None:
    boxes = np.array([[1.0, 2.0, 31.0, 12.0], [0.0, 0.0, 5.0, 50.0]])
    filters = BoxFilters(Noise())
    filters.add(measure(boxes))
    assert np.allclose(filters.boxes, boxes)


def test_the_centre_is_the_kalman_filter_of_the_textbook() -> None:
    """Position and velocity with 2x2 matrices, white noise in the acceleration; sides that stay the same."""
    noise = Noise()
    filters = BoxFilters(noise)
    filters.add(measure(box(100.0, 50.0)))
    size, jitter = np.sqrt(40.0 * 20.0), noise.jitter * 40.0
    state, covariance = np.array([100.0, 0.0]), np.diag([jitter**2, (noise.speed * size) ** 2])
    for step_s, x in ((0.1, 104.0), (0.4, 117.0), (0.05, 120.0)):
        a = np.array([[1.0, step_s], [0.0, 1.0]])
        q = (noise.agility * size) ** 2 * np.array([[step_s**3 / 3, step_s**2 / 2], [step_s**2 / 2, step_s]])
        state, covariance = a @ state, a @ covariance @ a.T + q
        gain = covariance[:, 0] / (covariance[0, 0] + jitter**2)
        squared = (x - state[0]) ** 2 / (covariance[0, 0] + jitter**2)
        state, covariance = state + gain * (x - state[0]), covariance - np.outer(gain, covariance[0])
        filters.predict(step_s)
        assert filters.distances(measure(box(x, 50.0)), np.array([0]))[0] == pytest.approx(squared, rel=1e-6)
        filters.update(np.array([0]), measure(box(x, 50.0)))
        assert filters.state[[PLACE, RATE], 0, 0] == pytest.approx(state)
        parts = filters.state[[PLACE_VARIANCE, COVARIANCE, RATE_VARIANCE], 0, 0]
        assert parts == pytest.approx(covariance[[0, 0, 1], [0, 1, 1]])


def test_a_box_that_vanishes_slowly_neither_stops_nor_shrinks_and_one_that_appears_is_believed() -> None:
    """40 pixels wide, 100 pixels a second to the right, behind a wall at 190: its right side stands still."""
    filters = BoxFilters(Noise())
    filters.add(measure(box(100.0, 50.0)))
    for time_s in np.arange(0.05, 0.96, 0.05):
        left, right = 80 + 100 * time_s, min(120 + 100 * time_s, 190.0)
        if right - left > 10:
            filters.predict(0.05)
            filters.update(np.array([0]), measure(np.array([[left, 40.0, right, 60.0]])))
    assert filters.state[RATE, 0, 0] == pytest.approx(100, abs=15)
    assert np.exp(filters.state[PLACE, 0, 2]) > 25
    filters.predict(0.1)
    filters.update(np.array([0]), measure(box(220.0, 50.0)))
    filters.predict(0.1)
    filters.update(np.array([0]), measure(box(230.0, 50.0)))
    assert np.exp(filters.state[PLACE, 0, 2]) > 35


def test_one_long_step_is_less_certain_than_sightings_between() -> None:
    filters = BoxFilters(Noise())
    filters.add(np.tile(measure(box(100.0, 50.0)), (2, 1)))
    for _ in range(10):
        filters.predict(0.1)
        filters.update(np.array([1]), measure(box(100.0, 50.0)))
    variances = filters.state[PLACE_VARIANCE]
    assert (variances[0] > 3 * variances[1]).all() and (filters.state[RATE_VARIANCE] > 0).all()
