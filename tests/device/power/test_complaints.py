"""What users of other energy tools complain of, each as a machine that had the trouble. The details are in each meter's own test."""

from __future__ import annotations

import math

import pytest

from alula.device.power import Accuracy, EnergyLog, select_meter, survey
from alula.runtime.errors import MeterError

PI_4 = "Raspberry Pi 4 Model B Rev 1.2\0"


def log_of(meter, clock, seconds=1.0):
    with EnergyLog(meter, rate_hz=0, gap_after_s=2 * seconds, clock=clock) as log:
        clock.advance(seconds)
    return log.summary()


@pytest.mark.parametrize("model", ["Raspberry Pi 6 Model B Rev 1.0\0", "Orange Pi 5\0", "\0", "\xff"])
def test_a_board_that_nobody_knows_is_neither_refused_nor_taken_for_another(model, tree, clock):
    tree.write("proc/device-tree", model=model)
    summary = log_of(select_meter("auto", tree.root, clock), clock)
    assert summary["accuracy"] == "guessed" and summary["source"] == "model:guess" and summary["energy_j"] > 0
    assert any("nobody has measured a line" in note for note in summary["notes"])


def test_a_constant_is_never_shown_as_measured(tree, clock):
    tree.write("proc/device-tree", model=PI_4)
    summary = log_of(select_meter("auto", tree.root, clock), clock)
    assert summary["accuracy"] == "modelled" and all(entry["accuracy"] == "modelled" for entry in summary["sources"])


def test_the_answer_to_whether_it_was_measured_is_in_every_source(tree, clock):
    tree.write("sys/class/hwmon/hwmon0", name="ina226", in1_input=5000, curr1_input=800, shunt_resistor=100_000)
    summary = log_of(select_meter("auto", tree.root, clock), clock)
    assert (summary["accuracy"], summary["source"]) == ("measured", "hwmon:ina226@hwmon0")
    assert summary["energy_j"] == pytest.approx(4.0)


def test_an_arm_board_is_not_said_to_have_rapl(tree):
    tree.write("proc/device-tree", model=PI_4)
    rapl = next(candidate for candidate in survey(tree.root) if candidate.spec == "rapl")
    assert rapl.meter is None and "ARM boards have none" in rapl.remedy


def test_a_machine_without_a_source_says_what_is_missing_and_how_to_get_it(tree):
    for candidate in survey(tree.root):
        assert candidate.meter is not None or (candidate.missing and candidate.remedy), candidate
        assert (
            len(candidate.missing + candidate.remedy) < 280
            and candidate.covers
            and isinstance(candidate.accuracy, Accuracy)
        )
    assert any(note.startswith("not used: ") for note in select_meter("auto", tree.root).notes)


def test_a_megawatt_is_no_reading(tree, clock):
    tree.write("sys/class/hwmon/hwmon0", name="ina226", in1_input=5000, curr1_input=250_000_000, shunt_resistor=100_000)
    with pytest.raises(MeterError, match=r"expected -60 to 60 W, got 1250000.00 W"):
        select_meter("hwmon", tree.root, clock).read()


def test_nothing_is_always_zero(tree, clock):
    tree.write("sys/class/hwmon/hwmon0", name="ina226", in1_input=0, curr1_input=0, shunt_resistor=100_000)
    with pytest.raises(MeterError, match="expected volts, got 0 V"):
        select_meter("hwmon", tree.root, clock).read()


def test_what_the_model_includes_is_said(tree):
    assert "whole board" in select_meter("model", tree.root).covers


def test_polling_faster_than_the_chip_converts_does_not_make_more_samples(tree, clock):
    tree.write("sys/class/hwmon/hwmon0", name="ina219", in1_input=5000, curr1_input=800, shunt_resistor=100_000)
    with EnergyLog(select_meter("hwmon", tree.root), rate_hz=0, clock=clock) as log:
        pass
    assert EnergyLog(select_meter("hwmon", tree.root), rate_hz=500).period_s == pytest.approx(0.0681)
    assert math.isfinite(log.summary()["energy_j"])
