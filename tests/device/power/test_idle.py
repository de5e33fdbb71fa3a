"""The idle baseline."""

from __future__ import annotations

import pytest

from alula.device.power.idle import measure_idle
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
