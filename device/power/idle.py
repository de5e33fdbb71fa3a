"""The idle baseline: what the board draws before the work begins, so that the work's own share is known.

Its spread is that of the mean power of BLOCKS equal parts of the time: what the baseline would move by if it were measured again,
for a tenth of the time. A short baseline, or one with something running beside it, has a large one.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from alula.device.power.ledger import Ledger, Origin
from alula.device.power.limits import limits_of
from alula.device.power.meter import Accuracy, Meter
from alula.runtime.errors import MeterError
from alula.runtime.files import write_whole

BLOCKS = 10
FORMAT = "alula-idle-1"


@dataclass(frozen=True)
class IdleBaseline:
    """Mean power at rest.

    spread_w : standard deviation of the means of BLOCKS parts of the time; None if it was given and not measured
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


def given_idle(power_w: float) -> IdleBaseline:
    """A baseline that somebody says. raise: MeterError for what is no power"""
    if not 0 <= power_w < math.inf:
        raise MeterError(f"idle baseline: expected watts from 0 on, got {power_w}; measure it with: alula power idle")
    return IdleBaseline(power_w, None, 0.0, 0, "given", Accuracy.GUESSED)


def measure_idle(
    meter: Meter,
    seconds: float,
    rate_hz: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[float], object] = lambda seconds: None,
) -> IdleBaseline:
    """Watch the board rest. 30 s or more make a baseline that is worth subtracting.

    tell  : told the seconds that are done
    raise : MeterError if the meter fails, or there are gaps: a baseline with holes is not one
    """
    if not (0 < seconds < math.inf and rate_hz > 0):
        raise MeterError(f"idle baseline: expected seconds > 0 and rate_hz > 0, got {seconds} and {rate_hz}")
    period_s = max(1.0 / rate_hz, meter.interval_s)
    first = reading = meter.read()
    origin = Origin(meter.name, meter.accuracy)
    ledger = Ledger(first, origin, max(5 * period_s, 1.0), limits_of(meter))
    blocks_w: list[float] = []
    begun_s = begun_j = 0.0
    while reading.t_ns - first.t_ns < seconds * 1e9:
        sleep(period_s)
        reading = meter.read()
        flag, at_s = ledger.read(reading, origin), ledger.duration_s
        if flag == "gap":
            raise MeterError(f"idle baseline: expected readings without gaps, got a gap at {at_s:.1f} s; try again")
        tell(at_s)
        if at_s > begun_s and at_s >= (len(blocks_w) + 1) * seconds / BLOCKS:
            blocks_w.append((ledger.energy_j - begun_j) / (at_s - begun_s))
            begun_s, begun_j = at_s, ledger.energy_j
    if not ledger.duration_s:
        raise MeterError(f"idle baseline: expected readings from {meter.name}, got none that is usable; see power list")
    spread_w = statistics.stdev(blocks_w) if len(blocks_w) > 1 else None
    power_w = ledger.energy_j / ledger.duration_s
    return IdleBaseline(power_w, spread_w, ledger.duration_s, ledger.readings, meter.name, meter.accuracy)


def idle_path() -> Path:
    """Where `alula power idle` keeps the baseline of this machine."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "alula" / "idle.json"


def save_idle(path: Path, baseline: IdleBaseline) -> None:
    """Write a baseline, whole or not at all. raise: OSError"""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"format": FORMAT} | asdict(baseline), indent=2) + "\n"
    write_whole(path, lambda handle: handle.write(content.encode()))


def load_idle(path: Path) -> IdleBaseline:
    """Read a baseline. raise: MeterError for a file that is none, OSError"""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError(f"not {FORMAT}")
        baseline = IdleBaseline(**values | {"accuracy": Accuracy(values["accuracy"])})
        if not all(math.isfinite(value) for value in (baseline.power_w, baseline.seconds, baseline.spread_w or 0.0)):
            raise ValueError("figures that are not finite")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MeterError(
            f"{path}: expected an idle baseline, got {type(error).__name__} ({error}); measure one with: alula power idle"
        ) from error
    return baseline
