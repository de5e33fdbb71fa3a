"""A board in the field, without one: meters that follow its load, on the real clock, with time a fiftieth as long."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from alula.device.power.guard import Guarded
from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Reading
from alula.device.power.select import select_meter
from alula.runtime import budgets

SHORTER = 0.02  # of what is written


class Field:
    """2 W at rest, 1.5 W for each busy core. It takes the place of hardware: of `pmic` and `i2c`, and of cores that are made busy."""

    def __init__(self) -> None:
        self.busy = 0

    def meter(self, spec: str):
        name = spec.partition(",")[0]
        if name == "pmic":
            return Guarded(Sensor(self, "pmic", 0.8, -0.3, Accuracy.CORRECTED), Limits(0.3, 40.0))
        if name.startswith("i2c:"):
            return Guarded(Sensor(self, "i2c:ina226@1-0040", 1.0, 0.0, Accuracy.MEASURED), Limits(0.0, 15.0))
        return select_meter(spec)


class Sensor:
    """A shunt with 10 mW of noise."""

    covers, interval_s, notes = "the simulated board", 0.001, ()

    def __init__(self, field: Field, name: str, gain: float, offset_w: float, accuracy: Accuracy) -> None:
        self.field, self.name, self.gain, self.offset_w, self.accuracy = field, name, gain, offset_w, accuracy
        self.random = random.Random(0)

    def read(self) -> Reading:
        power_w = self.gain * (2.0 + 1.5 * self.field.busy) + self.offset_w + self.random.gauss(0.0, 0.01)
        return Reading(time.monotonic_ns(), power_w)

    def close(self) -> None:
        pass


def set_up(monkeypatch: pytest.MonkeyPatch, home: Path) -> Field:
    """Everything that `alula power` asks of a board; corrections and baselines are kept in `home`."""
    field = Field()

    class Cores:
        def __init__(self, cores: int) -> None: ...

        def start(self, cores: int) -> int:
            field.busy = cores
            return time.monotonic_ns()

        def stop(self) -> None:
            field.busy = 0

        def __enter__(self) -> Cores:
            return self

        def __exit__(self, *error: object) -> None:
            self.stop()

    monkeypatch.setattr("alula.device.power.select_meter", field.meter)
    monkeypatch.setattr("alula.device.power.load.BusyCores", Cores)
    monkeypatch.setattr("alula.device.power.calibrate.SETTLE_S", 0.0)
    monkeypatch.setattr("alula.device.power.check.BLEND_S", 0.0)
    monkeypatch.setattr("alula.device.power.check.RATE_HZ", 100.0)
    for unit, seconds in (("s", SHORTER), ("min", SHORTER)):
        monkeypatch.setitem(budgets.TIME_S, unit, seconds)
    monkeypatch.setenv("ALULA_POWER", str(home / "power.json"))
    return field
