"""Totals of known signals stay within the bound that they state; the full sweep is tests/bench/power.py."""

from __future__ import annotations

import logging

import pytest

from alula.device.power.bounds import Bound, bound_figures
from alula.device.power.limits import Limits, limits_of
from tests.bench.power import MISSING, measure_faults, measure_signals, phase_sum_error, signals, watch_signal


@pytest.fixture(autouse=True)
def quiet():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_each_signal_is_known_and_within_its_bound():
    summary, rows = measure_signals(seeds=1, seconds=30.0)  # ten minutes are known to half a percent
    assert summary["energy_error_max"] <= 0.023 and summary["bound_used_max"] < 1
    assert len(rows) == 24


def test_missing_readings_are_said_and_widen_the_bound():
    steps = signals(3)[1]
    all_there, some = (watch_signal(steps, 0.0, missing, 3, 60.0) for missing in (0.0, MISSING))
    assert some.bound_j > all_there.bound_j and some.bound_used < 1
    assert any("of the readings are missing" in note for note in some.summary["notes"])
    assert not any("missing" in note for note in all_there.summary["notes"])


def test_parts_add_up_to_the_total_over_random_nestings():
    assert phase_sum_error(300, seed=5) <= 1e-12


def test_faults_are_told_and_the_total_stays_within_its_bound():
    summary = measure_faults(12)
    assert summary["fault_bound_used_max"] < 1 and summary["fault_gaps_lost"] == 0


def test_the_terms_are_those_of_the_formula():
    bound = Bound(Limits(0.0, 15.0, window_s=0.025))
    bound.interval(3.0, 5.0, 0.1)
    bound.interval(5.0, 5.0, 0.1)
    bound.gap(4.0, 2.0)
    bound.gap(None, 1.0)
    bound.frozen(3.0, 2.0)
    bound.suspended(3.0)
    figures = bound_figures([bound])
    assert figures["sampling_j"] == pytest.approx(4 * (((0.75 * 2 * 0.1) ** 2) / 2) ** 0.5)
    assert figures["unseen_j"] == pytest.approx(10.0 * 0.15)  # of two intervals, all may be missed
    assert (figures["gaps_j"], figures["frozen_j"], figures["suspended_j"]) == (22.0 + 15.0, 24.0, 45.0)
    assert figures["energy_j"] == pytest.approx(sum(value for name, value in figures.items() if name != "energy_j"))


def test_a_window_as_long_as_the_interval_misses_nothing():
    bound = Bound(Limits(0.0, 15.0, window_s=0.1))
    bound.interval(3.0, 5.0, 0.1)
    assert bound_figures([bound])["energy_j"] == 0


def test_a_meter_that_says_nothing_has_the_limits_of_any_board():
    class Plain:
        name = "plain"

    limits = limits_of(Plain())
    assert limits.holds(1e4) and limits.farthest_w(10.0, 10.0) == 70.0
