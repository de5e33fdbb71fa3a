"""Whether a sensor has frozen: it gives the same figures over and over, and did not use to.

Each reading repeats the one before, or does not. The share of repeats is not known, so it has Jeffreys' prior; after `equal` repeats and
`changes` the next n readings are all repeats with the probability (beta-binomial)

    product over k < n of (a + k) / (a + b + k),    a = equal + 1/2, b = changes + 1/2

Below ODDS the sensor is taken to be frozen: one that never repeats itself after some six repeats, one that is new once a minute
after hours. One that never varied cannot be told from a load that does not vary, and is not suspected.
"""

from __future__ import annotations

import math

from alula.device.power.meter import Reading

LOG_ODDS = math.log(1e-9)
Figures = tuple[float | None, ...]


class Freeze:
    """Watches the figures of one meter. since_ns : when the present figures were first seen."""

    def __init__(self, first: Reading) -> None:
        self._figures = _figures(first)
        self.since_ns = first.t_ns
        self._equal = self._changes = 0  # before the present run of repeats
        self._run, self._log_odds = 0, 0.0

    def shows(self, reading: Reading) -> bool:
        """Whether this reading says that the sensor is frozen."""
        figures = _figures(reading)
        if figures != self._figures or reading.restarted:
            self._equal += self._run
            self._changes += 1
            self._figures, self.since_ns = figures, reading.t_ns
            self._run, self._log_odds = 0, 0.0
            return False
        like = self._equal + 0.5 + self._run
        self._log_odds += math.log(like / (like + self._changes + 0.5))
        self._run += 1
        return self._changes > 0 and self._log_odds < LOG_ODDS


def _figures(reading: Reading) -> Figures:
    """What must change if the sensor lives: its count if it counts, else all that it gives."""
    if reading.energy_j is not None:
        return (reading.energy_j,)
    return reading.power_w, reading.voltage_v, reading.current_a
