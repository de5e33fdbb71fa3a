"""Batteries from made-up power_supply trees: units, direction, counters, and what says too little."""

from __future__ import annotations

import pytest

from alula.device.power import select_meter, survey
from alula.device.power.meters.battery import Battery, charge_ratio
from alula.runtime.errors import MeterError


def supply(tree, name="BAT0", **changes):
    values = {
        "type": "Battery",
        "present": 1,
        "status": "Discharging",
        "voltage_now": 7_400_000,
        "current_now": 800_000,
        "capacity": 63,
    }
    values = {key: value for key, value in (values | changes).items() if value is not None}
    return tree.write(f"sys/class/power_supply/{name}", **values)


@pytest.mark.parametrize("current", [800_000, -800_000])
def test_the_sign_of_the_current_is_the_drivers_mood(current, tree, clock):
    supply(tree, current_now=current)
    reading = select_meter("battery", tree.root, clock).read()
    assert (reading.power_w, reading.voltage_v, reading.current_a) == pytest.approx((5.92, 7.4, 0.8))
    assert reading.energy_j is None and reading.note == ""


def test_watts_alone_will_do(tree):
    supply(tree, voltage_now=None, current_now=None, power_now=5_920_000)
    assert Battery(root=tree.root).read().power_w == pytest.approx(5.92)


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging"])
def test_on_the_supply_the_battery_says_nothing_of_the_board(status, tree):
    folder = supply(tree)
    meter = Battery(root=tree.root)
    (folder / "status").write_text(status)
    with pytest.raises(MeterError, match=f"got one that is {status.lower()}; unplug"):
        meter.read()
    (folder / "status").write_text("Discharging")
    assert meter.read().power_w == pytest.approx(5.92)


def test_an_unknown_direction_is_said(tree):
    supply(tree, status="Unknown")
    assert "does not say whether it charges" in Battery(root=tree.root).read().note


def test_a_counter_of_energy_is_read_when_it_moves(tree, clock):
    folder = supply(tree, voltage_now=None, current_now=None, energy_now=20_000_000)
    meter = Battery(root=tree.root, clock=clock)
    first = meter.read()
    clock.advance(5)
    assert meter.read() is first
    (folder / "energy_now").write_text("19990000")  # 10 mWh
    reading = meter.read()
    assert reading.energy_j == pytest.approx(36.0) and reading.power_w is None
    (folder / "energy_now").write_text("21000000")
    clock.advance(5)
    assert meter.read().restarted and meter.read().energy_j == pytest.approx(36.0)


def test_a_counter_of_charge_goes_with_the_volts(tree, clock):
    folder = supply(tree, current_now=0, charge_now=3_000_000)  # a gauge that cannot measure amperes says 0
    meter = Battery(root=tree.root, clock=clock)
    meter.read()
    clock.advance(5)
    (folder / "charge_now").write_text("2999000")
    assert meter.read().energy_j == pytest.approx(3.6 * 7.4)


def test_a_percentage_is_enough_for_a_mission_and_not_for_joules(tree):
    supply(tree, "max17040", current_now=None)
    with pytest.raises(MeterError, match="got a percentage and volts; that is enough to end a mission, not for joules"):
        Battery(root=tree.root)
    assert charge_ratio(tree.root) == pytest.approx(0.63)
    assert select_meter("auto", tree.root).name.startswith("model:")


@pytest.mark.parametrize(
    ("values", "ratio"),
    [
        ({"energy_now": 5, "energy_full": 20}, 0.25),
        ({"charge_now": 30, "charge_full": 20}, 1.0),
        ({"capacity": 130}, 1.0),
    ],
)
def test_how_full_it_is(values, ratio, tree):
    supply(tree, **values)
    assert charge_ratio(tree.root) == ratio


def test_mice_mains_and_empty_slots_are_no_battery_and_a_ups_is_one(tree):
    supply(tree, "hid-mouse", scope="Device")
    supply(tree, "AC", type="Mains")
    supply(tree, "slot", present=0)
    with pytest.raises(MeterError, match="expected a battery below /sys/class/power_supply, got none"):
        Battery(root=tree.root)
    supply(tree, "ups0", type="UPS", status=None)
    assert select_meter("auto", tree.root).name == "battery:ups0"


def test_two_batteries_are_two_candidates(tree):
    supply(tree, "BAT0")
    supply(tree, "BAT1", current_now=100_000)
    with pytest.raises(MeterError, match="expected one, got BAT0, BAT1; choose one: battery:BAT0"):
        select_meter("battery", tree.root)
    specs = [candidate.spec for candidate in survey(tree.root) if candidate.spec.startswith("battery")]
    assert specs == ["battery:BAT0", "battery:BAT1"]
    assert select_meter("battery:BAT1", tree.root).read().power_w == pytest.approx(0.74)
