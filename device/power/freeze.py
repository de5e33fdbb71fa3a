"""Whether a sensor has frozen: it gives the same figures over and over, and did not use to.

Each reading repeats the one before, or does not. The share of repeats is not known, so it has Jeffreys' prior; after `equal` repeats and
`changes` the next n readings are all repeats with the probability (beta-binomial)

    product over k < n of (a + k) / (a + b + k),    a = equal + 1/2, b = changes + 1/2

A run below SUSPECT_ODDS is doubted: its time widens the bound. One below FROZEN_ODDS that lasts FROZEN_S is a frozen sensor. A sensor
that never repeats itself is doubted after some five repeats. Only one that changes with most readings is doubted at all: one that is
new once a minute, or never varied, cannot be told from a load that does not vary. A load that has become steadier than the sensor's
steps is mistaken a few times: its repeats are remembered.
"""

from __future__ import annotations

import math

from alula.device.power.meter import Reading

SUSPECT_ODDS, FROZEN_ODDS = math.log(1e-6), math.log(1e-9)
FROZEN_S = 10.0
Figures = tuple[float | None, ...]


class Freeze:
    """Watches the figures of one meter. since_ns : when the present figures were first seen"""

    def __init__(self, first: Reading) -> None:
        self._figures = _figures(first)
        self.since_ns = self._last_ns = first.t_ns
        self._equal = self._changes = 0  # before the present run of repeats
        self._usual = 0  # of `_equal`, those that were not doubted
        self._run, self._log_odds = 0, 0.0

    def see(self, reading: Reading) -> float:
        """Look at a reading. return: seconds of a doubtful run that it ends, else 0"""
        figures = _figures(reading)
        if figures == self._figures and not reading.restarted:
            like = self._equal + 0.5 + self._run
            self._log_odds += math.log(like / (like + self._changes + 0.5))
            self._run += 1
            self._last_ns = reading.t_ns
            return 0.0
        doubted_s = self.doubted_s
        self._equal += self._run
        self._usual += 0 if doubted_s else self._run
        self._changes += 1
        self._figures, self.since_ns, self._last_ns = figures, reading.t_ns, reading.t_ns
        self._run, self._log_odds = 0, 0.0
        return doubted_s

    @property
    def doubted_s(self) -> float:
        """Seconds from the first to the last of the present repeats, if they are doubtful."""
        doubtful = self._changes > self._usual and self._log_odds < SUSPECT_ODDS
        return (self._last_ns - self.since_ns) / 1e9 if doubtful else 0.0

    @property
    def is_frozen(self) -> bool:
        """Whether the present figures are those of a frozen sensor."""
        return self._log_odds < FROZEN_ODDS and self.doubted_s >= FROZEN_S


def _figures(reading: Reading) -> Figures:
    """What must change if the sensor lives: its count if it counts, else all that it gives."""
    if reading.energy_j is not None:
        return (reading.energy_j,)
    return reading.power_w, reading.voltage_v, reading.current_a
