"""A meter in reserve."""

from __future__ import annotations

import pytest

from alula.device.power.fallback import WithFallback
from alula.device.power.meter import Accuracy, Reading
from alula.runtime.errors import MeterError


class Scripted:
    """A constant meter that can be unplugged."""

    covers, interval_s, notes = "test", 0.1, ()

    def __init__(self, name, power_w, clock, accuracy=Accuracy.MEASURED):
        self.name, self.power_w, self.clock, self.accuracy, self.there = name, power_w, clock, accuracy, True

    def read(self):
        if not self.there:
            raise MeterError(f"{self.name}: expected a sensor, got none")
        return Reading(self.clock(), self.power_w)

    def close(self):
        self.there = False


def test_patience_then_reserve_then_back(clock):
    primary, reserve = Scripted("ina", 3.0, clock), Scripted("model", 5.0, clock, Accuracy.MODELLED)
    meter = WithFallback(primary, reserve, patience=3, retry_s=5, clock=clock)
    assert meter.read().power_w == 3.0
    primary.there = False
    for _ in range(2):
        with pytest.raises(MeterError):
            meter.read()
    reading = meter.read()
    assert reading.power_w == 5.0 and reading.restarted and "fell back to model" in reading.note
    assert (meter.name, meter.accuracy) == ("model", Accuracy.MODELLED)
    primary.there = True
    assert meter.read().power_w == 5.0  # not tried again yet
    clock.advance(5)
    reading = meter.read()
    assert reading.power_w == 3.0 and reading.restarted and meter.name == "ina"


def test_a_primary_that_was_never_there_is_replaced_at_once(clock):
    primary, reserve = Scripted("ina", 3.0, clock), Scripted("model", 5.0, clock)
    primary.there = False
    assert WithFallback(primary, reserve, clock=clock).read().power_w == 5.0


def test_without_either_the_error_comes_through(clock):
    primary, reserve = Scripted("ina", 3.0, clock), Scripted("model", 5.0, clock)
    meter = WithFallback(primary, reserve, clock=clock)
    meter.close()
    with pytest.raises(MeterError):
        meter.read()
