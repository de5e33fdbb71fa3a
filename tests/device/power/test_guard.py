"""What no meter may do, whatever it is."""

from __future__ import annotations

import random

import pytest

from alula.device.power import EnergyLog, select_meter
from alula.device.power.guard import Guarded
from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Reading
from alula.runtime.errors import MeterError


class Scripted:
    """A meter that gives, or raises, what the test says."""

    name, accuracy, covers, interval_s, notes = "scripted", Accuracy.MEASURED, "test", 0.1, ()

    def __init__(self, clock):
        self.clock, self.next = clock, {"power_w": 3.0}

    def read(self):
        if isinstance(self.next, Exception):
            raise self.next
        return Reading(self.clock(), **self.next)

    def close(self):
        pass


@pytest.fixture
def inner(clock):
    return Scripted(clock)


def guarded(inner, min_w=-60.0, max_w=60.0):
    return Guarded(inner, Limits(min_w, max_w))


def test_a_shunt_value_that_makes_400_w_is_refused_until_the_user_allows_it(tree, clock):
    tree.write("sys/class/hwmon/hwmon0", name="ina226", in1_input=5000, curr1_input=80_000, shunt_resistor=10_000)
    meter = select_meter("hwmon", tree.root, clock)
    with pytest.raises(
        MeterError, match=r"expected -60 to 60 W, got 400.00 W; check the shunt's value, or allow more: ,max=800"
    ):
        meter.read()
    with pytest.raises(MeterError), EnergyLog(meter, rate_hz=0, clock=clock):
        raise AssertionError("the log must not begin")
    assert select_meter("hwmon,max=800", tree.root, clock).read().power_w == pytest.approx(400)
    assert select_meter("hwmon,shunt=0.1", tree.root, clock).read().power_w == pytest.approx(40)
    chosen = select_meter("auto", tree.root, clock)
    assert chosen.name == "model:guess" and any("got 400.00 W" in note for note in chosen.notes)


def test_no_volts_is_no_reading_and_no_amperes_is_one(inner):
    inner.next = {"power_w": 0.0, "voltage_v": 0.0, "current_a": 0.0}
    with pytest.raises(MeterError, match="expected volts, got 0 V"):
        guarded(inner).read()
    inner.next = {"power_w": 0.0, "voltage_v": 5.0, "current_a": 0.0}
    assert guarded(inner).read().power_w == 0.0


@pytest.mark.parametrize(("energy_j", "words"), [(-5.0, "went back by 5 J"), (1000.0, "leapt by 1e+03 J in 1 s")])
def test_a_counter_that_goes_back_or_leaps_begins_anew(energy_j, words, inner, clock):
    meter = guarded(inner, min_w=0.0)
    inner.next = {"energy_j": 0.0}
    meter.read()
    clock.advance(1)
    inner.next = {"energy_j": energy_j}
    reading = meter.read()
    assert reading.restarted and words in reading.note


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(5, "I/O"), KeyError("x"), ZeroDivisionError(), IndexError(), TypeError()]
)
def test_whatever_a_meter_raises_is_a_meter_error(error, inner):
    inner.next = error
    with pytest.raises(MeterError, match="scripted: expected a reading, got"):
        guarded(inner).read()


def test_no_sequence_of_faults_raises_out_of_the_log_or_leaves_the_bound(inner, clock):
    generator = random.Random(16)
    for _ in range(60):
        meter, true_w = guarded(inner), 3.0
        inner.next = {"power_w": true_w}
        with EnergyLog(meter, rate_hz=0, gap_after_s=0.35, clock=clock) as log:
            for _ in range(60):
                fault = generator.choice(["", "", "", "", "vanish", "jump", "zero", "late", "back", "odd"])
                clock.advance({"late": 3.0, "back": -0.05}.get(fault, 0.1))
                inner.next = {
                    "vanish": MeterError("gone"), "odd": ValueError("x"), "jump": {"power_w": 655.0},
                    "zero": {"power_w": 0.0, "voltage_v": 0.0},
                }.get(fault, {"power_w": true_w + generator.uniform(-0.01, 0.01)})  # fmt: skip
                log.sample()
            inner.next = {"power_w": true_w}
            clock.advance(0.1)
        summary = log.summary()
        measured_j = summary["energy_j"] - summary["gap"]["energy_j"]
        assert measured_j == pytest.approx(true_w * (summary["duration_s"] - summary["gap"]["seconds"]), rel=0.01)
