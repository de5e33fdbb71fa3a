"""Sleep and steps of the wall clock, from three clocks under the test's control."""

from __future__ import annotations

import pytest

from alula.device.power import EnergyLog
from alula.device.power.clocks import ClockWatch
from tests.bench.signals import NS, Sensor, World, constant


class Interrupted:
    """A monotonic clock whose every second look comes half a second late."""

    def __init__(self):
        self.ns, self.odd = 0, False

    def __call__(self):
        self.odd = not self.odd
        self.ns += 0 if self.odd else NS // 2
        return self.ns


def watched(world):
    return ClockWatch(world.monotonic, world.boot, world.wall)


def test_time_that_passes_is_neither_sleep_nor_a_step():
    world = World()
    watch = watched(world)
    for _ in range(5):
        world.ns += NS
        world.set_ns += NS // 2000  # slewed by 500 ppm
        assert watch.look() == (0.0, 0.0)


def test_sleep_and_steps_are_told_apart():
    world = World()
    watch = watched(world)
    world.asleep_ns += 20 * NS
    assert watch.look() == (20.0, 0.0)
    world.set_ns -= 3 * NS
    assert watch.look() == (0.0, -3.0)
    world.asleep_ns += NS
    world.set_ns += 2 * NS
    assert watch.look() == (1.0, 2.0)
    assert watch.look() == (0.0, 0.0)


def test_a_look_that_was_interrupted_says_nothing():
    clock = Interrupted()
    assert ClockWatch(clock, lambda: clock.ns, lambda: clock.ns).look() == (0.0, 0.0)


def test_this_machine_did_not_sleep_between_two_looks():
    assert ClockWatch().look()[0] == 0.0


def test_a_log_books_sleep_and_steps_with_their_instants(caplog):
    world = World()
    sensor = Sensor(constant(), world, None)
    sensor._power_w = lambda t_s: 3.0
    with EnergyLog(sensor, rate_hz=0, clock=world.monotonic, watch=watched(world)) as log:
        for step in range(100):
            world.ns += NS // 10
            world.asleep_ns += 60 * NS if step == 50 else 0
            world.set_ns -= 7 * NS if step == 70 else 0
            log.sample()
    summary = log.summary()
    assert summary["duration_s"] == pytest.approx(10.0)
    assert summary["counts"]["suspend"] == {"count": 1, "seconds": 60.0}
    assert [(e["kind"], e["t_s"], e["seconds"]) for e in summary["events"]] == [
        ("suspend", pytest.approx(5.1), 60.0), ("gap", pytest.approx(5.0), pytest.approx(0.1)), ("clock step", pytest.approx(7.1), -7.0),
    ]  # fmt: skip
    assert summary["bound"]["suspended_j"] == pytest.approx(60 * 15)
    assert "slept for 60.0 s" in caplog.text and summary["accuracy"] == "guessed"
