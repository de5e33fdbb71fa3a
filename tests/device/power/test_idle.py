"""The idle baseline."""

from __future__ import annotations

import json

import pytest

from alula.device.power.idle import given_idle, load_idle, measure_idle, save_idle
from alula.device.power.meter import Accuracy
from alula.device.power.meters.recording import Replay
from alula.runtime.errors import MeterError


def test_the_mean_over_the_asked_time_is_the_baseline(tmp_path, clock):
    (tmp_path / "t.csv").write_text("".join(f"{i / 10},{1 + i % 2}\n" for i in range(101)))
    baseline = measure_idle(Replay(tmp_path / "t.csv", clock=clock), 5.0, sleep=clock.advance)
    assert baseline.power_w == pytest.approx(1.5)
    assert baseline.seconds == pytest.approx(5.0, abs=0.11)
    assert baseline.source == "csv:t.csv"


def test_a_baseline_with_a_gap_is_refused(tmp_path, clock):
    (tmp_path / "t.csv").write_text("".join(f"{i / 10},1\n" for i in range(101)))
    with pytest.raises(MeterError, match="without gaps"):
        measure_idle(Replay(tmp_path / "t.csv", clock=clock), 5.0, sleep=lambda s: clock.advance(2.0))


@pytest.mark.parametrize(("seconds", "rate_hz"), [(0, 10), (-1, 10), (5, 0), (float("inf"), 10)])
def test_a_baseline_needs_time(clock, tmp_path, seconds, rate_hz):
    (tmp_path / "t.csv").write_text("0,1\n1,1\n")
    with pytest.raises(MeterError, match="expected seconds > 0"):
        measure_idle(Replay(tmp_path / "t.csv", clock=clock), seconds, rate_hz)


def test_the_spread_is_that_of_ten_parts_and_a_baseline_is_kept(tmp_path, clock):
    (tmp_path / "t.csv").write_text("".join(f"{i / 10},{2 + i // 10 % 2}\n" for i in range(101)))
    baseline = measure_idle(Replay(tmp_path / "t.csv", clock=clock), 9.9, sleep=clock.advance)
    assert baseline.spread_w == pytest.approx(0.5, abs=0.1)  # one second of 2 W, one of 3 W
    path = tmp_path / "deep" / "idle.json"
    save_idle(path, baseline)
    assert load_idle(path) == baseline
    assert "2.5 +- 0." in baseline.told() and "measured, csv:t.csv, 10 s" in baseline.told()


BASELINE = {
    "format": "alula-idle-1", "power_w": 3.0, "spread_w": 0.1, "seconds": 3.0, "readings": 3, "source": "model:given",
    "accuracy": "modelled",
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"format": "alula-idle-1"}', '{"format": "alula-energy-2", "power_w": 1}',
     *(json.dumps(BASELINE | wrong) for wrong in (
         {"power_w": 1e300}, {"power_w": "3"}, {"spread_w": -1.0}, {"seconds": -1.0}, {"seconds": float("nan")}))],
)  # fmt: skip
def test_what_is_no_baseline_is_refused_by_name(tmp_path, text):
    (tmp_path / "idle.json").write_text(text)
    with pytest.raises(MeterError, match=r"idle\.json: expected an idle baseline"):
        load_idle(tmp_path / "idle.json")


def test_a_given_baseline_has_no_spread_and_is_guessed():
    assert (given_idle(2.3).spread_w, given_idle(2.3).accuracy) == (None, Accuracy.GUESSED)
    with pytest.raises(MeterError, match="expected watts from 0 on"):
        given_idle(float("nan"))
