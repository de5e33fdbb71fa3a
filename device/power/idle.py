"""The idle baseline: what the board draws before the work begins, so that the work's own share is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from alula.device.power.coefficients import path_of
from alula.device.power.limits import MOST
from alula.device.power.meter import Accuracy, Meter
from alula.device.power.watching import MeanPower, Tell, tell_nobody, watch
from alula.runtime.errors import MeterError
from alula.runtime.files import check_file, write_whole

FORMAT = "alula-idle-1"
IdleBaseline = MeanPower


def given_idle(power_w: float) -> IdleBaseline:
    """A baseline that somebody says. raise: MeterError for what is no power"""
    if not 0 <= power_w <= MOST:
        raise MeterError(f"idle baseline: expected watts from 0 on, got {power_w}; measure it with: alula power idle")
    return IdleBaseline(power_w, None, 0.0, 0, "given", Accuracy.GUESSED)


def measure_idle(
    meter: Meter,
    seconds: float,
    rate_hz: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
    tell: Tell = tell_nobody,
) -> IdleBaseline:
    """Watch the board rest. 30 s or more make a baseline that is worth subtracting. raise: MeterError as `watch` does"""
    return watch([meter], seconds, rate_hz, sleep, tell, "idle baseline")[0]


def idle_path() -> Path:
    """Where `alula power idle` keeps the baseline of this machine: beside the corrections of its meters."""
    return path_of().with_name("idle.json")


def save_idle(path: Path, baseline: IdleBaseline) -> None:
    """Write a baseline, whole or not at all. raise: OSError"""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"format": FORMAT} | asdict(baseline), indent=2) + "\n"
    write_whole(path, lambda handle: handle.write(content.encode()))


def load_idle(path: Path) -> IdleBaseline:
    """Read a baseline. raise: MeterError for a file that is none, SourceError for a pipe or a device, OSError"""
    check_file(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError(f"not {FORMAT}")
        baseline = IdleBaseline(**values | {"accuracy": Accuracy(values["accuracy"])})
        for value in (abs(baseline.power_w), baseline.seconds, baseline.spread_w or 0.0):
            if not 0 <= value <= MOST:
                raise ValueError(f"a figure of {value}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MeterError(
            f"{path}: expected an idle baseline, got {type(error).__name__} ({error}); measure one with: alula power idle"
        ) from error
    return baseline
