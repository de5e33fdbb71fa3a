"""How far an energy may be from the truth, given what the meter could not see. The sensor's own tolerance comes on top.

Between two readings of a sensor that sees one moment, power may do anything within the sensor's range. If readings
fall at instants that have nothing to do with the load (the log moves them at random), two terms bound what was missed:

    sampling_j = 4 * sqrt(sum((u * dP * dt)^2 / 2))       what changes between readings, as their differences show
    unseen_j   = 7 * farthest_w * sum(u * dt) / n         what no reading has shown at all, such as rare short bursts

dP and dt are the differences of power and time of two neighbours, n is the number of such intervals. u = max(0, 1 - window / dt) is
the part of the interval outside the sensor's window. farthest_w is the distance from the readings to the end of the range.
Independent readings of a power with deviation s have E(dP^2) = 2 s^2, so the root is the standard error of their sum: four of
them. n random readings that do not show a state say that it has a share below 7 / n, with a confidence of 1 - e^-7 = 99.9 %.
What is not seen at all counts in full:

    gaps_j      = sum(seconds * farthest_w)   gaps whose energy is guessed, and time for which there is no guess
    frozen_j    = sum(seconds * farthest_w)   a sensor gave the same figures for suspiciously long (freeze.py), until that was a gap
    suspended_j = sum(seconds * max_w)        the board slept, and nothing was booked

A counter sees everything: its intervals add nothing. A meter whose joules are sums over samples (a logger's rows) is none: it counts
like a sensor that is read as often as the log reads it, which is too wide a bound where its samples are closer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from alula.device.power.limits import Limits

DEVIATIONS = 4.0
UNSEEN = 7.0


@dataclass
class Bound:
    """The sums behind the bound of what one meter contributed."""

    limits: Limits
    squares: float = 0.0  # of joules
    unseen_s: float = 0.0
    intervals: int = 0
    min_w: float = math.inf  # of readings
    max_w: float = -math.inf
    gaps_j: float = 0.0
    frozen_j: float = 0.0
    suspended_j: float = 0.0

    def interval(self, before_w: float, after_w: float, seconds: float) -> None:
        """Between two readings of power, `seconds` apart."""
        unseen = max(0.0, 1.0 - self.limits.window_s / seconds)
        self.squares += (unseen * (after_w - before_w) * seconds) ** 2 / 2
        self.unseen_s += unseen * seconds
        self.intervals += 1
        self.min_w, self.max_w = min(self.min_w, before_w, after_w), max(self.max_w, before_w, after_w)

    def gap(self, power_w: float | None, seconds: float) -> None:
        """Time without readings, booked at `power_w`, or not at all."""
        self.gaps_j += seconds * self.limits.farthest_w(power_w or 0.0, power_w or 0.0)

    def frozen(self, power_w: float, seconds: float) -> None:
        """Time during which the sensor showed the same `power_w`, and may have been frozen."""
        self.frozen_j += seconds * self.limits.farthest_w(power_w, power_w)

    def suspended(self, seconds: float) -> None:
        """Time asleep."""
        self.suspended_j += seconds * self.limits.farthest_w(0.0, 0.0)

    @property
    def sampling_j(self) -> float:
        """What changes between readings."""
        return DEVIATIONS * math.sqrt(self.squares)

    @property
    def unseen_j(self) -> float:
        """What no reading has shown."""
        if not self.intervals:
            return 0.0
        farthest_w = self.limits.farthest_w(self.min_w, self.max_w)
        return min(UNSEEN / self.intervals, 1.0) * farthest_w * self.unseen_s


TERMS = ("sampling_j", "unseen_j", "gaps_j", "frozen_j", "suspended_j")


def bound_figures(bounds: list[Bound]) -> dict[str, float]:
    """The terms of all meters together, and their sum."""
    terms = {name: math.fsum(getattr(bound, name) for bound in bounds) for name in TERMS}
    return {"energy_j": math.fsum(terms.values())} | terms
