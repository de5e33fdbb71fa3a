"""A known step of load, held against simulated meters; and their calibration against each other."""

from __future__ import annotations

import random

import numpy as np
import pytest

from alula.device.power.calibrate import Step, fit, measure_steps
from alula.device.power.check import check
from alula.device.power.load import BusyCores
from alula.device.power.meter import Accuracy
from alula.runtime.errors import MeterError
from tests.bench.signals import Sensor, Signal, World

CORES = 4


class Board:
    """A load and the power that it makes: 2 W at rest, 1.2 W for each busy core, on a clock that `sleep` moves."""

    def __init__(self):
        self.world, self.busy, self.used_j, self.since_s = World(), 0, 0.0, 0.0

    def power_w(self, t_s):
        return 2.0 + 1.2 * self.busy

    def energy_j(self, t_s):
        return self.used_j + self.power_w(t_s) * (t_s - self.since_s)

    def start(self, cores):
        self.used_j, self.since_s = self.energy_j(self.world.true_s), self.world.true_s
        self.busy = cores
        return self.world.ns

    def stop(self):
        self.start(0)

    def sleep(self, seconds):
        self.world.ns += round(seconds * 1e9)

    def sensor(self, name, gain=1.0, offset_w=0.0, late_s=0.0, **more):
        board = self

        class Late(Sensor):
            def _power_w(self, t_s):
                power_w = 2.0 if board.busy and t_s - board.since_s < late_s else board.power_w(t_s)
                return gain * power_w + offset_w + self.rng.gauss(0.0, self.noise_w)

        return Late(Signal("board", self.power_w, self.energy_j), self.world, random.Random(0), name=name, **more)


@pytest.fixture
def board():
    return Board()


def test_the_step_is_seen_with_its_size_and_its_delay(board):
    meters = [
        board.sensor("quick", noise_w=0.05),
        board.sensor("slow", late_s=0.4, noise_w=0.05),
        board.sensor("counter", counts=True),
    ]
    quick, slow, counter = check(meters, board, CORES, sleep=board.sleep)
    assert all(one.is_seen for one in (quick, slow, counter))
    assert quick.step_w == pytest.approx(4.8, abs=0.05) and counter.step_w == pytest.approx(4.8, abs=0.05)
    assert quick.late_s == pytest.approx(0.05) and slow.late_s == pytest.approx(0.4, abs=0.06)
    assert quick.noise_w == pytest.approx(0.05, abs=0.02) and board.busy == 0


def test_a_meter_of_something_else_does_not_see_it(board):
    (seen,) = check([board.sensor("elsewhere", gain=0.0, offset_w=3.0, noise_w=0.2)], board, CORES, sleep=board.sleep)
    assert not seen.is_seen and seen.late_s is None


def test_too_little_time_to_judge_is_refused(board):
    with pytest.raises(MeterError, match="expected 3 readings before the step"):
        check([board.sensor("a")], board, CORES, quiet_s=0.05, busy_s=0.5, sleep=board.sleep)
    assert board.busy == 0


def test_three_steps_find_gain_and_offset(board):
    meter, reference = board.sensor("pmic", 0.8, -0.4, noise_w=0.02), board.sensor("ina226", noise_w=0.01)
    steps = measure_steps(meter, reference, lambda busy: 0.0, board, CORES, 5.0, sleep=board.sleep)
    assert [step.cores for step in steps] == [0, 1, CORES]
    line = fit(steps, "pmic")
    assert (line.gain, line.offset_w) == (pytest.approx(1.25, abs=0.01), pytest.approx(0.5, abs=0.03))
    assert line.residual_w < 0.05
    correction = line.correction("pmic", "Raspberry Pi 5", "1", "3 steps against ina226")
    assert correction.gain == line.gain and correction.residual_w == line.residual_w


def test_the_watts_of_a_meter_that_only_a_person_can_read_are_asked_for(board):
    shown = {0: 3.0, 1: 4.5, CORES: 9.0}
    steps = measure_steps(board.sensor("raw"), None, shown.__getitem__, board, CORES, 1.0, sleep=board.sleep)
    assert fit(steps, "raw").gain == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("raw", "reference", "words"),
    [
        ((2.0, 2.01, 2.02), (2, 3, 4), "expected a power that follows the load"),
        ((2, 3, 4), (4, 3, 2), "both meters to rise"),
    ],
)
def test_meters_that_do_not_follow_the_load_are_refused(raw, reference, words):
    steps = [Step(k, raw_w, None, reference_w) for k, (raw_w, reference_w) in enumerate(zip(raw, reference))]
    with pytest.raises(MeterError, match=words):
        fit(steps, "m")


def test_a_line_through_noise_is_refused():
    """On a board that is busy with something else, each step shows the same, up to its spread."""
    steps = [Step(k, 12.90 + 0.03 * k, 0.12, 1.0 + k) for k in range(3)]
    with pytest.raises(MeterError, match=r"got 0\.06 W between idle and all cores with a spread of 0\.12 W"):
        fit(steps, "m")


def test_busy_cores_are_busy_and_end():
    with BusyCores(1) as load:
        before_ns = load.start(1)
        (process,) = load._busy
        assert process.poll() is None and before_ns > 0
        load.stop()
        assert process.returncode is not None and load._busy == []


def test_the_class_is_that_of_the_meter(board):
    meter = board.sensor("model", accuracy=Accuracy.MODELLED)
    (seen,) = check([meter], board, 1, sleep=board.sleep)
    assert seen.accuracy is Accuracy.MODELLED and np.isfinite(seen.step_w)
