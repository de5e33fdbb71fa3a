"""Kalman filters of boxes: where each box of many is, how it moves and grows, and how sure that is.

A box is its centre and the logarithms of its sides, each with a rate of its own: nearly constant velocity, as in Bewley et al.,
"Simple online and realtime tracking", ICIP 2016. The four do not depend on each other, so a filter is four of two numbers, and
many filters are a few operations on arrays. Logarithms keep sides positive and make noise relative. Time is in seconds: a frame that
was lost is a longer step, and uncertainty grows with it.

Boxes are cut off by what covers them, and by the image's edge. So half of what a side is shorter or longer than expected counts as
a deviation of the side and of the centre. In a shorter box it is noise: one that vanishes slowly neither stops nor shrinks its
filter. In a longer one it is the filter's own, which has only seen a part so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SMALLEST_SIDE = 1.0  # pixels; a logarithm needs one
PLACE, RATE, PLACE_VARIANCE, COVARIANCE, RATE_VARIANCE = range(
    5
)  # of the state, each (T, 4): x, y, log width, log height


@dataclass(frozen=True)
class Noise:
    """Standard deviations. A size is the square root of a box's area.

    jitter  : of a detector's centres and sides, of the side
    speed   : of a new box, sizes per second
    agility : of what a speed changes by in a second, sizes per second
    growth  : of a new box's growth, and of what it changes by in a second; 1 is a factor of e per second
    fading_s: after so long without a sighting a growth is 1/e of what it was
    """

    jitter: float = 0.05
    speed: float = 1.5
    agility: float = 0.7
    growth: float = 0.3
    fading_s: float = 0.5


def measure(boxes: Floats) -> Floats:
    """(N, 4) left, top, right, bottom -> x and y of the centre, logarithms of width and height."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], SMALLEST_SIDE)
    return np.concatenate([(boxes[:, 2:] + boxes[:, :2]) / 2.0, np.log(sides)], axis=1)


class BoxFilters:
    """T filters in step. Coordinates are pixels of whatever frame the caller keeps to."""

    def __init__(self, noise: Noise) -> None:
        self.noise = noise
        self.state: Floats = np.zeros((5, 0, 4))

    def __len__(self) -> int:
        return int(self.state.shape[1])

    @property
    def boxes(self) -> Floats:
        """(T, 4) left, top, right, bottom."""
        centre, half = self.state[PLACE, :, :2], np.exp(self.state[PLACE, :, 2:]) / 2.0
        return np.concatenate([centre - half, centre + half], axis=1)

    def add(self, seen: Floats) -> None:
        """New filters, one for each of (N, 4) measurements; they stand still so far."""
        fresh = np.zeros((5, len(seen), 4))
        fresh[PLACE] = seen
        fresh[PLACE_VARIANCE] = self._jitter(seen) ** 2
        size = _size(seen)
        fresh[RATE_VARIANCE, :, :2] = (self.noise.speed * size[:, None]) ** 2
        fresh[RATE_VARIANCE, :, 2:] = self.noise.growth**2
        self.state = np.concatenate([self.state, fresh], axis=1)

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Forget the others; (T,) bool."""
        self.state = self.state[:, which]

    def predict(self, step_s: float) -> None:
        """So much time passes: white noise in the acceleration."""
        place, rate, variance, covariance, rate_variance = self.state
        noise = self.noise
        fading = np.array([1.0, 1.0, *[np.exp(-step_s / noise.fading_s)] * 2])
        reach = np.array([step_s, step_s, *[noise.fading_s * (1.0 - fading[2])] * 2])  # seconds that the rate acts for
        change = np.empty_like(place)  # variance of a rate's change in a second
        change[:, :2] = (noise.agility * _size(place)[:, None]) ** 2
        change[:, 2:] = noise.growth**2
        place += reach * rate
        rate *= fading
        variance += 2.0 * reach * covariance + reach**2 * rate_variance + change * step_s**3 / 3.0
        covariance[:] = fading * (covariance + reach * rate_variance) + change * step_s**2 / 2.0
        rate_variance[:] = fading**2 * rate_variance + change * step_s

    def spread(self, sizes: float) -> None:
        """Places have become less certain by this many sizes."""
        self.state[PLACE_VARIANCE, :, :2] += (sizes * _size(self.state[PLACE])[:, None]) ** 2

    def distances(self, seen: Floats, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """How far each of (N, 4) measurements is from each of the filters `rows` (T,).

        return : (T, N) squared Mahalanobis distances, in a chi-squared distribution of 4 degrees if the two belong together;
                 (T, N) logarithms of the determinant of what is uncertain, centres in sizes: lower is surer
        """
        squared, logarithm = np.zeros((2, len(rows), len(seen)))
        size, jitter = _size(self.state[PLACE, rows])[:, None], self._jitter(self.state[PLACE, rows])[:, None]
        place, variance = self.state[PLACE, rows][:, None], self.state[PLACE_VARIANCE, rows][:, None]
        for axis in range(2):
            side, centre = axis + 2, axis
            of_centre, of_side = _cut(place[..., side], seen[None, :, side])
            offset = seen[None, :, centre] - place[..., centre]
            total = variance[..., centre] + jitter[..., centre] ** 2 + of_centre
            squared += offset**2 / total
            logarithm += np.log(total / size**2)
            offset = seen[None, :, side] - place[..., side]
            total = variance[..., side] + jitter[..., side] ** 2 + of_side
            squared += offset**2 / total
            logarithm += np.log(total)
        return squared, logarithm

    def update(self, rows: NDArray[np.int64], seen: Floats) -> None:
        """Filters `rows` (K,) saw these measurements (K, 4)."""
        place, rate, variance, covariance, rate_variance = (part[rows] for part in self.state)
        noise = self._jitter(place) ** 2
        for axis in range(2):
            longer = seen[:, axis + 2] > place[:, axis + 2]
            for column, cut in zip((axis, axis + 2), _cut(place[:, axis + 2], seen[:, axis + 2]), strict=True):
                noise[:, column] += np.where(longer, 0.0, cut)
                variance[:, column] += np.where(longer, cut, 0.0)
        total = variance + noise
        gain, rate_gain, offset = variance / total, covariance / total, seen - place
        self.state[PLACE, rows] = place + gain * offset
        self.state[RATE, rows] = rate + rate_gain * offset
        self.state[PLACE_VARIANCE, rows] = (1.0 - gain) * variance
        self.state[COVARIANCE, rows] = (1.0 - gain) * covariance
        self.state[RATE_VARIANCE, rows] = rate_variance - rate_gain * covariance

    def _jitter(self, place: Floats) -> Floats:
        jitter = np.full_like(place, self.noise.jitter)
        jitter[:, :2] *= np.exp(place[:, 2:])
        return jitter


def _size(place: Floats) -> Floats:
    size: Floats = np.exp(place[:, 2:].sum(axis=1) / 2.0)
    return size


def _cut(expected: Floats, seen: Floats) -> tuple[Floats, Floats]:
    """Variances, of the centre in square pixels and of the logarithm of the side, because one of the two sides was cut off."""
    return (0.5 * (np.exp(expected) - np.exp(seen))) ** 2, (0.5 * (expected - seen)) ** 2
