"""INA chips from a made-up hwmon tree: units, choice of chip, traps."""

from __future__ import annotations

import re

import pytest

from alula.device.power import Accuracy, select_meter
from alula.device.power.meters.hwmon import Hwmon, find_chips
from alula.runtime.errors import MeterError
from tests.device.power.conftest import Tree


def ina219(tree, number=0, address="1-0040", **changes):
    values = {
        "name": "ina219",
        "in1_input": 5100,
        "curr1_input": 600,
        "power1_input": 3_060_000,
        "shunt_resistor": 100_000,
    }
    folder = tree.write(f"hwmon{number}", **(values | changes))
    device = tree.root / "devices" / address
    device.mkdir(parents=True, exist_ok=True)
    (folder / "device").symlink_to(device)
    return folder


def test_units_become_volts_amperes_and_watts(tree, clock):
    ina219(tree)
    meter = Hwmon(root=tree.root, clock=clock)
    reading = meter.read()
    assert (reading.voltage_v, reading.current_a) == pytest.approx((5.1, 0.6))
    assert reading.power_w == pytest.approx(3.06)
    assert reading.energy_j is None
    assert meter.name == "hwmon:ina219@1-0040"
    assert meter.notes == ()
    assert meter.interval_s == pytest.approx(0.0681)


def test_other_hwmon_devices_are_passed_over(tree):
    tree.write("hwmon0", name="cpu_thermal", temp1_input=50_000)
    tree.write("hwmon1", name="rpi_volt", in0_lcrit_alarm=0)
    assert find_chips(tree.root) == []
    with pytest.raises(MeterError, match=r"expected a power monitor .* got none; .*new_device"):
        Hwmon(root=tree.root)


def test_two_chips_must_be_told_apart_by_address(tree):
    ina219(tree, 0, "1-0040")
    ina219(tree, 1, "1-0041", curr1_input=200, power1_input=1_020_000)
    with pytest.raises(MeterError, match="expected one power monitor, got ina219 at 1-0040, ina219 at 1-0041"):
        Hwmon(root=tree.root)
    assert Hwmon("1-0041", root=tree.root).read().current_a == pytest.approx(0.2)


def test_the_drivers_default_shunt_is_a_warning(tree):
    ina219(tree, shunt_resistor=10_000)
    (note,) = Hwmon(root=tree.root).notes
    assert "10000 uOhm" in note and "echo 100000 | sudo tee" in note


def test_a_default_shunt_makes_a_guess_until_its_value_is_said(tree, clock):
    ina219(Tree(tree.root / "sys/class/hwmon"), shunt_resistor=10_000, curr1_input=6000, power1_input=30_600_000)
    guess = select_meter("hwmon", tree.root)
    assert guess.accuracy is Accuracy.GUESSED and guess.read().power_w == pytest.approx(30.6)
    said = select_meter("hwmon,shunt=0.1", tree.root)
    assert said.accuracy is Accuracy.MEASURED and said.read().power_w == pytest.approx(3.06) and said.notes == ()
    chosen = select_meter("auto", tree.root)
    assert chosen.name.startswith("model:") and any("nobody has said its shunt" in note for note in chosen.notes)


def test_a_channel_that_is_off_is_no_meter_and_no_candidate(tree):
    values = {"name": "ina3221", "in1_input": 5000, "curr1_input": 600, "in2_input": 5000, "curr2_input": 600}
    folder = tree.write("sys/class/hwmon/hwmon0", **values, in1_enable=0, in2_enable=1, shunt2_resistor=10_000)
    with pytest.raises(MeterError, match=r"expected channel 1 to be on, got in1_enable 0; run: echo 1 \| sudo tee"):
        Hwmon(root=folder.parent)
    assert select_meter("auto", tree.root).name == "hwmon:ina3221@hwmon0:2"
    assert select_meter("hwmon:ina3221:2,shunt=0.02", tree.root).read().power_w == pytest.approx(1.5)
    with pytest.raises(MeterError, match="expected a channel from 1 to 3"):
        select_meter("hwmon:ina3221:9", tree.root)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"curr1_input": 10, "power1_input": 51_000}, "0.05 W is not plausible"),
        ({"curr1_input": 20_000, "power1_input": 102_000_000}, "102.00 W is not plausible"),
        ({"curr1_input": -600}, r"negative \(-3.06 W\)"),
        ({"power1_input": 30_600_000}, "power register says 30.60 W, volts x amperes 3.06 W"),
    ],
)
def test_implausible_figures_are_warnings(tree, changes, warning):
    ina219(tree, **changes)
    (note,) = Hwmon(root=tree.root).notes
    assert re.search(warning, note)


def test_an_energy_counter_is_used_and_survives_its_restart(tree, clock):
    folder = ina219(tree, name="ina228", energy1_input=5_000_000)
    meter = Hwmon(root=tree.root, clock=clock)
    (folder / "energy1_input").write_text("8000000")
    assert meter.read().energy_j == pytest.approx(3.0)
    (folder / "energy1_input").write_text("1000000")
    restarted = meter.read()
    assert restarted.restarted and "began anew" in restarted.note
    (folder / "energy1_input").write_text("2000000")
    after = meter.read()
    assert after.energy_j - restarted.energy_j == pytest.approx(1.0)


def test_an_ina3221_is_read_by_channel(tree):
    tree.write(
        "hwmon0", name="ina3221", in1_input=5000, curr1_input=100, in2_input=5000, curr2_input=700, in2_label="BOARD"
    )
    meter = Hwmon(channel=2, root=tree.root)
    assert meter.read().power_w == pytest.approx(3.5)
    assert "BOARD" in meter.covers
    with pytest.raises(MeterError, match="is channel 3 of ina3221 right"):
        Hwmon(channel=3, root=tree.root)


def test_a_chip_with_nothing_but_a_power_file_will_do(tree):
    tree.write("hwmon0", name="ina260", power1_input=2_500_000, update_interval=35)
    meter = Hwmon(root=tree.root)
    assert meter.read().power_w == pytest.approx(2.5)
    assert meter.interval_s == pytest.approx(0.035)


def test_a_chip_that_is_unbound_is_an_error_and_may_come_back(tree):
    folder = ina219(tree)
    meter = Hwmon(root=tree.root)
    (folder / "curr1_input").rename(folder / "gone")
    with pytest.raises(MeterError, match="is the sensor still there"):
        meter.read()
    (folder / "gone").rename(folder / "curr1_input")
    assert meter.read().power_w == pytest.approx(3.06)
