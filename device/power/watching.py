"""Watch one meter or several for some time, and say the mean power of each, with its spread.

The spread is the standard deviation of the means of BLOCKS equal parts of the time: what the mean would move by if a tenth of
the time were watched again. A short watch, or one with something running beside it, has a large one.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alula.device.power.ledger import Ledger, Origin
from alula.device.power.limits import limits_of
from alula.device.power.meter import Accuracy, Meter
from alula.runtime.errors import MeterError

BLOCKS = 10
Tell = Callable[[float], object]


def tell_nobody(seconds: float) -> None:
    """Nothing."""


@dataclass(frozen=True)
class MeanPower:
    """Mean power over some time.

    spread_w : see above; None if the time was too short, or the power was given and not measured
    seconds, readings : over how long, from how many
    source, accuracy  : the meter, and its class
    """

    power_w: float
    spread_w: float | None
    seconds: float
    readings: int
    source: str
    accuracy: Accuracy

    def told(self) -> str:
        """In one line."""
        spread = "" if self.spread_w is None else f" +- {self.spread_w:.2g}"
        how = f"{self.accuracy.value}, {self.source}" + (f", {self.seconds:.0f} s" if self.seconds else "")
        return f"{self.power_w:.4g}{spread} W ({how})"


class _Watched:
    """One meter's ledger and blocks."""

    def __init__(self, meter: Meter, period_s: float, seconds: float) -> None:
        self.meter, self._block_s = meter, seconds / BLOCKS
        self.origin = Origin(meter.name, meter.accuracy)
        self.first = meter.read()
        self.ledger = Ledger(self.first, self.origin, max(5 * period_s, 1.0), limits_of(meter))
        self.at_s = self._begun_s = self._begun_j = 0.0
        self._blocks_w: list[float] = []

    def read(self, what: str) -> None:
        reading = self.meter.read()
        flag, booked_s = self.ledger.read(reading, self.origin), self.ledger.duration_s
        self.at_s = (reading.t_ns - self.first.t_ns) / 1e9
        if flag == "gap":
            raise MeterError(f"{what}: expected readings without gaps, got a gap at {booked_s:.1f} s; try again")
        if booked_s > self._begun_s and booked_s >= (len(self._blocks_w) + 1) * self._block_s:
            self._blocks_w.append((self.ledger.energy_j - self._begun_j) / (booked_s - self._begun_s))
            self._begun_s, self._begun_j = booked_s, self.ledger.energy_j

    def mean(self, what: str) -> MeanPower:
        seconds = self.ledger.duration_s
        if not seconds:
            raise MeterError(f"{what}: expected readings of {self.meter.name}, got none of use; see: alula power list")
        spread_w = statistics.stdev(self._blocks_w) if len(self._blocks_w) > 1 else None
        return MeanPower(self.ledger.energy_j / seconds, spread_w, seconds, self.ledger.readings, *self.origin)


def watch(
    meters: Sequence[Meter],
    seconds: float,
    rate_hz: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
    tell: Tell = tell_nobody,
    what: str = "watch",
) -> list[MeanPower]:
    """The mean power of each meter over the same time.

    tell  : told the seconds that are done
    what  : what errors are about
    raise : MeterError if a meter fails, or there are gaps: a mean with holes is not one
    """
    if not (0 < seconds < math.inf and rate_hz > 0):
        raise MeterError(f"{what}: expected seconds > 0 and rate_hz > 0, got {seconds} and {rate_hz}; give a time")
    period_s = max(1.0 / rate_hz, *(meter.interval_s for meter in meters))
    watched = [_Watched(meter, period_s, seconds) for meter in meters]
    while watched[0].at_s < seconds:
        sleep(period_s)
        for one in watched:
            one.read(what)
        tell(watched[0].at_s)
    return [one.mean(what) for one in watched]
