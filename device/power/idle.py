"""The idle baseline: what the board draws before the work begins, so that the work's own share is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from alula.device.power.ledger import Ledger
from alula.device.power.meter import Meter
from alula.runtime.errors import MeterError


@dataclass(frozen=True)
class IdleBaseline:
    """Mean power at rest, over how long, from how many readings, by which meter."""

    power_w: float
    seconds: float
    readings: int
    source: str


def measure_idle(
    meter: Meter, seconds: float, rate_hz: float = 10.0, sleep: Callable[[float], None] = time.sleep
) -> IdleBaseline:
    """Watch the board rest. 30 s or more make a baseline that is worth subtracting.

    raise : MeterError if the meter fails, or there are gaps: a baseline with holes is not one
    """
    if not (0 < seconds < float("inf") and rate_hz > 0):
        raise MeterError(f"idle baseline: expected seconds > 0 and rate_hz > 0, got {seconds} and {rate_hz}")
    period_s = max(1.0 / rate_hz, meter.interval_s)
    first = meter.read()
    ledger = Ledger(first, meter.name, max(5 * period_s, 1.0))
    reading = first
    while reading.t_ns - first.t_ns < seconds * 1e9:
        sleep(period_s)
        reading = meter.read()
        if ledger.read(reading, meter.name) == "gap":
            at_s = ledger.duration_s
            raise MeterError(f"idle baseline: expected readings without gaps, got a gap at {at_s:.1f} s; try again")
    return IdleBaseline(ledger.energy_j / ledger.duration_s, ledger.duration_s, ledger.readings, meter.name)
