"""Check a meter with a known step of load: does it see the step, how late, how large?"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from alula.device.power.load import Load, Sleep
from alula.device.power.meter import Accuracy, Meter, Reading
from alula.runtime.errors import MeterError

SURE = 5.0  # standard errors that a step must exceed
FEWEST_W = 0.05
RATE_HZ = 20.0
BLEND_S = 0.5  # after the step, not part of the mean: a meter's own mean follows


@dataclass(frozen=True)
class StepSeen:
    """What one meter made of the step.

    before_w, after_w : mean power with idle cores, and with busy ones
    noise_w  : standard deviation of its readings before the step
    late_s   : from the step to the first reading above half of it; None if it was not seen
    period_s : between its readings: it cannot be seen earlier
    """

    source: str
    accuracy: Accuracy
    before_w: float
    after_w: float
    noise_w: float
    late_s: float | None
    period_s: float
    readings: int

    @property
    def step_w(self) -> float:
        return self.after_w - self.before_w

    @property
    def is_seen(self) -> bool:
        return self.late_s is not None


def check(
    meters: Sequence[Meter],
    load: Load,
    cores: int,
    quiet_s: float = 5.0,
    busy_s: float = 8.0,
    sleep: Sleep = time.sleep,
) -> list[StepSeen]:
    """Idle for quiet_s, `cores` busy for busy_s; what each meter saw.

    raise : MeterError if a meter gives too little to judge
    """
    period_s = max(1 / RATE_HZ, *(meter.interval_s for meter in meters))
    seen: list[list[Reading]] = [[meter.read()] for meter in meters]

    def watch(seconds: float) -> None:
        begun_ns = seen[0][-1].t_ns
        while seen[0][-1].t_ns - begun_ns < seconds * 1e9:
            sleep(period_s)
            for meter, readings in zip(meters, seen, strict=True):
                reading = meter.read()
                if reading.t_ns > readings[-1].t_ns:
                    readings.append(reading)

    watch(quiet_s)
    try:
        step_ns = load.start(cores)
        watch(busy_s)
    finally:
        load.stop()
    return [_judge(meter, readings, step_ns) for meter, readings in zip(meters, seen, strict=True)]


def _judge(meter: Meter, readings: list[Reading], step_ns: int) -> StepSeen:
    powers = _powers(readings)
    before = [power_w for t_ns, power_w in powers if t_ns <= step_ns]
    after = [power_w for t_ns, power_w in powers if t_ns > step_ns + BLEND_S * 1e9]
    if len(before) < 3 or len(after) < 3:
        raise MeterError(f"{meter.name}: expected 3 readings before the step and after it, got fewer; give more time")
    noise_w = statistics.stdev(before)
    before_w, after_w = statistics.fmean(before), statistics.fmean(after)
    error_w = (noise_w**2 / len(before) + statistics.variance(after) / len(after)) ** 0.5
    late_s = None
    if after_w - before_w > max(SURE * error_w, FEWEST_W):
        half_w = (before_w + after_w) / 2
        first_ns = next(t_ns for t_ns, power_w in powers if t_ns > step_ns and power_w >= half_w)
        late_s = (first_ns - step_ns) / 1e9
    period_s = (readings[-1].t_ns - readings[0].t_ns) / 1e9 / (len(readings) - 1)
    return StepSeen(meter.name, meter.accuracy, before_w, after_w, noise_w, late_s, period_s, len(readings))


def _powers(readings: list[Reading]) -> list[tuple[int, float]]:
    """When, and which power: that of a counter is its difference."""
    powers: list[tuple[int, float]] = []
    for last, reading in itertools.pairwise(readings):
        if last.energy_j is not None and reading.energy_j is not None and not reading.restarted:
            powers.append((reading.t_ns, (reading.energy_j - last.energy_j) / (reading.t_ns - last.t_ns) * 1e9))
        elif reading.power_w is not None:
            powers.append((reading.t_ns, reading.power_w))
    return powers
