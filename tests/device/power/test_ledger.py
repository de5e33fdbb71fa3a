"""Bookkeeping: what goes in comes out, cut at the marks, with gaps in their own bucket."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alula.device.power.accounts import OTHER, Mark
from alula.device.power.ledger import Ledger, Origin
from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Reading
from alula.runtime.errors import MeterError

MS = 1_000_000
A, B = Origin("a", Accuracy.MEASURED), Origin("b", Accuracy.MODELLED)


def book(readings, marks, end_ms, gap_after_s=0.5):
    """A ledger of events [(t_ms, power_w or None, energy_j or None, restarted)] and marks [(t_ms, path)]."""
    first, *rest = readings
    ledger = Ledger(reading(first), A, gap_after_s)
    events = sorted([(t, 1, r) for r in rest for t in [r[0]]] + [(t, 0, p) for t, p in marks], key=lambda e: e[:2])
    for t_ms, kind, what in events:
        if kind == 0:
            ledger.account(what).calls += 1
            ledger.mark(t_ms * MS, what)
        else:
            ledger.read(reading(what), A)
    ledger.close(end_ms * MS)
    return ledger


def reading(row):
    t_ms, power_w, energy_j, *restarted = row
    return Reading(t_ms * MS, power_w, energy_j, restarted=bool(restarted))


def test_power_is_interpolated_at_the_mark():
    # 0 to 10 W over 100 ms; the phase holds the last 50 ms: mean power 7.5 W there, 2.5 W before.
    ledger = book([(0, 0.0, None), (100, 10.0, None)], [(50, "b")], 100)
    assert ledger.phases["b"].energy_j == pytest.approx(7.5 * 0.05)
    assert ledger.phases[OTHER].energy_j == pytest.approx(2.5 * 0.05)


def test_a_phase_of_5_ms_gets_its_share_at_10_hz():
    ledger = book([(0, 2.0, None), (100, 2.0, None)], [(40, "short"), (45, OTHER)], 100)
    assert ledger.phases["short"].energy_j == pytest.approx(2.0 * 0.005)
    assert ledger.phases["short"].seconds == pytest.approx(0.005)


def test_a_counter_beats_power_samples():
    ledger = book([(0, 99.0, 0.0), (100, 99.0, 0.3)], [], 100)
    assert ledger.energy_j == pytest.approx(0.3)


def test_a_gap_is_in_its_own_bucket_and_no_phase_gets_its_energy():
    ledger = book([(0, 2.0, None), (100, 2.0, None), (2100, 4.0, None), (2200, 4.0, None)], [(100, "p")], 2200)
    assert ledger.gap.count == 1
    assert ledger.gap.seconds == pytest.approx(2.0)
    assert ledger.gap.energy_j == pytest.approx(6.0)
    assert ledger.gap.counted_j == 0
    assert ledger.phases["p"].energy_j == pytest.approx(0.4)
    assert ledger.phases["p"].seconds == pytest.approx(2.1)
    assert ledger.phases["p"].gap_s == pytest.approx(2.0)


def test_the_energy_of_a_gap_is_known_where_a_counter_went_on():
    ledger = book([(0, None, 0.0), (100, None, 0.1), (3100, None, 9.1)], [], 3100)
    assert ledger.gap.counted_j == ledger.gap.energy_j == pytest.approx(9.0)


def test_a_restarted_counter_is_a_gap_at_the_last_known_power():
    ledger = book([(0, None, 0.0), (100, None, 0.2), (200, None, 0.0, True), (300, None, 0.2)], [], 300)
    assert ledger.gap.count == 1
    assert ledger.gap.energy_j == pytest.approx(2.0 * 0.1)
    assert ledger.energy_j == pytest.approx(0.6)


def test_a_restart_before_any_power_is_known_is_time_without_energy():
    ledger = book([(0, None, 0.0), (100, None, 0.0, True)], [], 100)
    assert ledger.gap.unknown_s == pytest.approx(0.1)
    assert ledger.energy_j == 0


def test_a_meter_that_never_comes_back_leaves_a_gap_to_the_end():
    marks = [(t, "p") for t in range(200, 5000, 100)]
    ledger = book([(0, 2.0, None), (100, 2.0, None)], marks, 5000)
    assert ledger.gap.seconds == pytest.approx(4.9)
    assert ledger.gap.energy_j == pytest.approx(9.8)
    assert ledger.duration_s == pytest.approx(5.0)
    assert not ledger._marks  # marks are not hoarded while there are no readings


def test_another_source_breaks_the_line_between_two_readings():
    ledger = Ledger(reading((0, 2.0, None)), A, 0.5)
    ledger.read(reading((100, 2.0, None)), A)
    ledger.read(reading((200, 8.0, 50.0)), B)
    ledger.read(reading((300, 8.0, 50.8)), B)
    assert ledger.gap.seconds == pytest.approx(0.1)
    assert ledger.sources[A].energy_j == pytest.approx(0.2)
    assert ledger.sources[B].energy_j == pytest.approx(0.8)


def test_a_reading_from_the_past_is_not_booked():
    ledger = Ledger(reading((100, 2.0, None)), A, 0.5)
    assert ledger.read(reading((50, 9.0, None)), A) == "stale"
    assert ledger.duration_s == 0 and ledger.energy_j == 0 and ledger.peak_w == 2.0


def test_a_slow_read_whose_time_was_booked_as_blind_is_not_booked_twice():
    ledger = Ledger(reading((0, 2.0, 0.0)), A, 0.5)
    ledger.mark(700 * MS, "p")  # books 0.7 s as blind while a read is under way that says 0.6 s
    assert ledger.read(reading((600, 2.0, 1.2)), A) == "gap"
    ledger.read(reading((800, 2.0, 1.6)), A)
    assert ledger.energy_j == pytest.approx(1.6)
    assert ledger.duration_s == pytest.approx(0.8)


@pytest.mark.parametrize("figures", [{}, {"power_w": float("nan")}, {"energy_j": float("inf")}])
def test_a_reading_must_say_something_finite(figures):
    with pytest.raises(MeterError, match="reading: expected"):
        Reading(0, **figures)


names = st.sampled_from([OTHER, "a", "b", "a/b", "a/b/c"])
rows = st.tuples(
    st.integers(1, 800),  # ms since the reading before: some are gaps
    st.floats(-5, 50),
    st.sampled_from(["power", "power", "power", "restart"]),
)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(rows, min_size=1, max_size=25),
    marks=st.lists(st.tuples(st.integers(1, 12_000), names), max_size=40),
    tail_ms=st.integers(0, 900),
    counter=st.booleans(),
)
def test_phases_other_and_gap_always_sum_to_the_total(steps, marks, tail_ms, counter):
    t_ms, energy_j, readings = 0, 0.0, [(0, 3.0, 0.0 if counter else None)]
    for step_ms, power_w, kind in steps:
        t_ms += step_ms
        energy_j += power_w * step_ms / 1000
        readings.append((t_ms, power_w, energy_j if counter else None, *([True] if kind == "restart" else [])))
    end_ms = t_ms + tail_ms
    marks = sorted((t, path) for t, path in marks if t <= end_ms)
    ledger = book(readings, marks, end_ms)
    phases = ledger.phases.values()
    assert sum(p.energy_j for p in phases) + ledger.gap.energy_j == pytest.approx(ledger.energy_j, rel=1e-9, abs=1e-9)
    assert sum(p.seconds for p in phases) == pytest.approx(ledger.duration_s, abs=1e-9)
    assert sum(p.gap_s for p in phases) == pytest.approx(ledger.gap.seconds, abs=1e-9)
    assert ledger.duration_s == pytest.approx(end_ms / 1000, abs=1e-9)
    assert sum(s.energy_j for s in ledger.sources.values()) + ledger.gap.energy_j == pytest.approx(
        ledger.energy_j, rel=1e-9, abs=1e-9
    )


@settings(max_examples=50, deadline=None)
@given(
    powers=st.lists(st.floats(0, 20), min_size=2, max_size=20),
    marks=st.lists(st.tuples(st.integers(1, 1999), names), max_size=30),
)
def test_each_phase_gets_the_integral_of_the_broken_line_over_its_own_time(powers, marks):
    end_ms = 100 * (len(powers) - 1)
    marks = sorted(((t, path) for t, path in marks if t < end_ms), key=lambda m: m[0])
    ledger = book([(100 * i, p, None) for i, p in enumerate(powers)], marks, end_ms)
    # The slow way: midpoint rule over every millisecond, exact for a broken line with corners on milliseconds.
    owner, todo, expected = OTHER, list(marks), dict.fromkeys(ledger.phases, 0.0)
    for ms in range(end_ms):
        while todo and todo[0][0] <= ms:
            owner = todo.pop(0)[1]
        i, share = divmod(ms + 0.5, 100)
        before, after = powers[int(i)], powers[int(i) + 1]
        expected[owner] += (before + (after - before) * share / 100) / 1000
    for path, energy_j in expected.items():
        assert ledger.phases[path].energy_j == pytest.approx(energy_j, rel=1e-6, abs=1e-9)


def test_a_power_outside_the_range_is_not_booked_and_told_once():
    ledger = Ledger(reading((0, 3.0, None)), A, 0.5, Limits(0.0, 15.0))
    flags = [ledger.read(reading((100 * k, 400.0 if 3 <= k < 6 else 3.0, None)), A) for k in range(1, 10)]
    assert flags == ["", "", "implausible", "implausible", "implausible", "", "", "", ""]
    assert ledger.energy_j == pytest.approx(2.7) and ledger.peak_w == 3.0
    assert [event.kind for event in ledger.events.kept] == ["implausible"]


def test_a_counter_that_jumps_is_counted_on_from_there():
    ledger = Ledger(reading((0, None, 0.0)), A, 0.5, Limits(0.0, 15.0))
    for k in range(1, 20):
        ledger.read(reading((100 * k, None, 0.3 * k + (5000 if k >= 10 else 0))), A)
    assert ledger.energy_j == pytest.approx(5.7)
    assert ledger.gap.guessed_j == pytest.approx(0.3)


def test_the_watts_of_a_leap_are_no_guess_for_its_gap():
    ledger = Ledger(reading((0, 3.0, 0.0)), A, 0.5, Limits(0.0, 15.0))
    for k in range(1, 20):
        power_w = 50_000.0 if k == 10 else 3.0  # as the meter makes it of two counts
        ledger.read(reading((100 * k, power_w, 0.3 * k + (5000 if k >= 10 else 0))), A)
    assert ledger.energy_j == pytest.approx(5.7) and ledger.peak_w == 3.0


def test_a_frozen_sensor_is_a_gap_from_when_it_is_noticed_and_widens_the_bound():
    powers = [3 + 0.001 * (k % 7) for k in range(100)] + [3.0] * 200 + [3 + 0.001 * (k % 7) for k in range(100)]
    ledger = Ledger(reading((0, 3.0, None)), A, 0.5, Limits(0.0, 15.0))
    flags = [ledger.read(reading((100 * k, power, None)), A) for k, power in enumerate(powers[1:], 1)]
    frozen, gap = ledger.events.kept
    assert (frozen.kind, gap.kind) == ("frozen", "gap") and flags.count("frozen") > 90
    assert frozen.seconds + gap.seconds == pytest.approx(20.0, abs=0.3)
    assert ledger.sources[A].bound.frozen_j == pytest.approx(frozen.seconds * 12.0, rel=0.01)
    assert set(ledger.energy) == {Accuracy.MEASURED, Accuracy.GUESSED}


def test_what_was_booked_before_a_mark_is_told_exactly():
    ledger = Ledger(reading((0, 0.0, None)), A, 0.5)
    mark = Mark(50 * MS)
    ledger.mark(mark.t_ns, mark)
    assert mark.energy is None
    ledger.read(reading((100, 10.0, None)), A)
    assert mark.energy == {Accuracy.MEASURED: 125 * 10**12}  # 2.5 W for 50 ms


def test_the_events_of_a_long_flight_do_not_fill_the_memory():
    ledger = Ledger(reading((0, 3.0, None)), A, 0.5)
    for k in range(1, 1000):
        ledger.read(reading((1000 * k, 3.0, None)), A)
    figures = ledger.events.figures(0)
    assert len(figures["events"]) == 200 and figures["counts"]["gap"] == {"count": 999, "seconds": pytest.approx(999.0)}


@pytest.mark.parametrize("counts", [False, True])
def test_a_first_reading_that_cannot_be_is_no_peak_and_nothing_is_guessed_from_it(counts):
    def say(t_ms, power_w):
        return Reading(t_ms * MS, power_w, t_ms * 5e-3 if counts else None)

    limits = Limits(0.0, 60.0)
    ledger = Ledger(say(0, 1e300), A, 0.5, limits)
    assert ledger.peak_w is None and ledger.power_w is None
    for t_ms in range(100, 1100, 100):
        ledger.read(say(t_ms, 5.0), A, limits)
    assert (ledger.energy_j, ledger.peak_w) == (pytest.approx(5.0), 5.0)
    assert ledger.gap.count == (0 if counts else 1), "the time before the first good reading is a guess"
