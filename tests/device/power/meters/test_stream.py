"""USB and bench meters: files that grow, pipes, clocks that differ."""

from __future__ import annotations

import os

import pytest

from alula.device.power import EnergyLog, select_meter
from alula.device.power.limits import Limits
from alula.device.power.meters.stream import Stream, Tail
from alula.runtime.errors import MeterError

WALL_NS = 1_764_547_200_000_000_000


class Bench:
    """A logger's file, and a clock that both share."""

    def __init__(self, path, clock):
        self.path, self.clock, self.file = path, clock, open(path, "a")  # noqa: SIM115

    def say(self, text):
        self.file.write(text + "\n")
        self.file.flush()

    def stream(self, clock_s=0.0, first=None):
        def sleep(seconds):
            self.clock.advance(seconds)
            if first:
                self.say(f"{first}\n{first}")  # two rows tell how often they come

        return Stream(str(self.path), clock_s, self.clock, lambda: WALL_NS + self.clock.ns, sleep)


@pytest.fixture
def bench(tmp_path, clock):
    made = Bench(tmp_path / "um25c.csv", clock)
    yield made
    made.file.close()


def test_rows_count_from_now_on_and_joules_are_those_of_all_rows(bench, clock):
    bench.say("t_s,power_w\n0,50\n1,50")
    meter = bench.stream(first="100,2")
    assert meter.read().power_w == 2.0 and meter.read().energy_j == 0.0
    for step in range(1, 11):
        clock.advance(0.1)
        bench.say(f"{100 + step / 10},{2 + step % 2}")
    reading = meter.read()
    assert reading.energy_j == pytest.approx(2.5)
    assert reading.power_w == 2.0 and not reading.restarted
    assert meter.read() == reading, "no new row: the same reading, with the same time"


def test_the_log_books_a_stream_by_its_own_times(bench, clock):
    bench.say("t_s,v,a")
    meter = bench.stream(first="0,5,0.4")
    with EnergyLog(meter, rate_hz=0, clock=clock) as log:
        for step in range(1, 31):
            clock.advance(0.1)
            bench.say(f"{step / 10},5,0.4")
            log.sample()
    summary = log.summary()
    assert summary["energy_j"] == pytest.approx(2.0 * 3.0) and summary["accuracy"] == "measured"


def test_a_line_that_the_wire_garbled_is_left_out_and_said(bench, clock):
    bench.say("t_s,power_w")
    meter = bench.stream(first="0,2")
    clock.advance(0.2)
    bench.say("0.1,\ufffd2;;x")
    bench.say("0.2,2")
    reading = meter.read()
    assert reading.energy_j == pytest.approx(0.4) and "um25c.csv:4: expected numbers" in reading.note


def test_a_partial_line_waits_for_its_end(bench, clock):
    bench.say("t_s,power_w")
    meter = bench.stream(first="0,2")
    bench.file.write("1,")
    bench.file.flush()
    clock.advance(1)
    assert meter.read().energy_j == 0.0
    bench.say("4")
    assert meter.read().energy_j == pytest.approx(3.0)


def test_holes_and_clocks_that_go_back_are_no_energy(bench, clock):
    bench.say("t_s,power_w")
    meter = bench.stream(first="0,2")
    for t_s in (0.5, 1.0, 1.5):
        bench.say(f"{t_s},2")
    clock.advance(2.0)
    assert meter.read().energy_j == pytest.approx(3.0)
    clock.advance(58.5)
    bench.say("60,2")
    hole = meter.read()
    assert hole.restarted and "a hole of 58.5 s" in hole.note and hole.energy_j == pytest.approx(3.0)
    clock.advance(70.0)
    bench.say("0,2\n0.5,2")
    back = meter.read()
    assert back.restarted and "went back by 60.0 s" in back.note and back.energy_j == pytest.approx(4.0)
    assert back.t_ns == pytest.approx(clock.ns, abs=1e9)


@pytest.mark.parametrize(("off_s", "clock_s", "shift_s"), [(0.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.5, -0.5, 0.0)])
def test_unix_time_is_kept_and_the_offset_added(off_s, clock_s, shift_s, bench, clock):
    bench.say("t_s,power_w")
    stamp = (WALL_NS + clock.ns) / 1e9 + 0.05 + off_s
    meter = bench.stream(clock_s, first=f"{stamp:.3f},2")
    assert (meter.read().t_ns - clock.ns) / 1e9 == pytest.approx(shift_s, abs=1e-3)


def test_a_clock_an_hour_off_is_said_and_not_believed(bench, clock):
    bench.say("t_s,power_w")
    meter = bench.stream(first=f"{(WALL_NS + clock.ns) / 1e9 + 3600:.3f},2")
    assert abs(meter._last.t_ns - clock.ns) < 1e9
    clock.advance(1)
    bench.say(f"{(WALL_NS + clock.ns) / 1e9 + 3600:.3f},2")
    assert meter.read().energy_j == pytest.approx(2.0, abs=0.2)


def test_a_clock_that_runs_away_is_tied_again(bench, clock):
    bench.say("t_s,power_w")
    meter = bench.stream(first="0,2")
    for t_s in range(1, 21):
        clock.advance(0.1)
        bench.say(f"{t_s},2")
        reading = meter.read()
    assert (reading.t_ns - clock.ns) / 1e9 < 2.0
    bench.say("40,2")
    assert "runs" in meter.read().note and abs(meter.read().t_ns - clock.ns) < 1e9


def test_rows_without_a_time_have_that_of_their_arrival(bench, clock):
    bench.say("power_w")
    meter = bench.stream(first="2")
    clock.advance(1)
    bench.say("2\n2\n2\n2")
    assert meter.read().energy_j == pytest.approx(2.0, abs=0.06)


def test_a_stream_that_stops_is_a_meter_that_vanished_and_may_come_back(bench, clock):
    bench.say("t_s,power_w")
    meter = bench.stream(first="0,2")
    clock.advance(4)
    with pytest.raises(MeterError, match=r"expected a row, got none for 4.0 s; is the meter's logger running"):
        meter.read()
    bench.say("4.5,2")
    assert meter.read().restarted
    bench.file.truncate(0)
    bench.file.seek(0)
    bench.say("4.6,2")
    clock.advance(0.1)
    assert meter.read().power_w == 2.0


def test_nobody_writes_or_there_is_no_file(bench, tmp_path):
    bench.say("t_s,power_w\n0,2")
    with pytest.raises(MeterError, match=r"got none for 5.* A recording needs ,replay=0"):
        bench.stream()
    with pytest.raises(MeterError, match="expected a file that a meter's logger writes, got No such file"):
        Stream(str(tmp_path / "none"))
    for path in (str(tmp_path), "nul\0"):
        for options in ("", ",replay=0"):
            with pytest.raises(MeterError, match="expected"):
                select_meter(f"csv:{path}{options}")
    with pytest.raises(MeterError, match="name the file"):
        select_meter("csv")


def test_a_pipe_and_standard_input_are_streams(tmp_path, clock, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    keep = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(keep, b'{"t": 0, "w": 2}\n{"t": 1, "w": 4}\n')
    meter = Stream(str(tmp_path / "pipe"), clock=clock)
    assert meter.read().energy_j == pytest.approx(3.0)
    meter.close()
    os.close(keep)
    ours, theirs = os.pipe()
    monkeypatch.setattr("os.dup", lambda handle: ours)
    os.write(theirs, b"0,2\n")
    meter = Stream("-", clock=clock, sleep=clock.advance)
    assert (meter.name, meter.read().power_w) == ("csv:-", 2.0)
    os.close(theirs)
    with pytest.raises(MeterError, match="got the end of the stream"):
        meter.read()
    meter.close()


def test_the_log_reads_as_often_as_rows_come_so_a_slow_meter_leaves_no_gaps(bench, clock):
    bench.say("t_s,power_w")
    seconds = iter(range(100))

    def sleep(_):
        clock.advance(2.0)
        bench.say(f"{2 * next(seconds)},3")

    meter = Stream(str(bench.path), clock=clock, sleep=sleep)
    assert meter.interval_s == pytest.approx(2.0)
    with EnergyLog(meter, clock=clock) as log:
        assert log.period_s == pytest.approx(2.0)


def test_a_recording_is_replayed_by_its_name(tmp_path, clock):
    (tmp_path / "t.csv").write_text("0,2\n1,4\n2,6\n")
    meter = select_meter(f"csv:{tmp_path / 't.csv'},replay=1", clock=clock)
    assert meter.read().power_w == 4.0


def test_a_source_that_never_ends_is_read_in_parts():
    tail = Tail("/dev/zero")
    assert [tail.lines(), tail.lines()] == [[], []]
    tail.close()


def test_rows_beyond_the_range_are_none_and_break_the_sum(bench, clock):
    bench.say("t_s,power_w")
    meter = bench.stream(first="0,5")
    meter.judge(Limits(0, 60))
    for step, power_w in enumerate((5, 110, -110, 5, 5), 1):
        clock.advance(0.1)
        bench.say(f"{step / 10},{power_w}")
    reading = meter.read()
    assert reading.restarted and reading.power_w == 5.0
    assert "expected rows of 0 to 60 W, got -110.00 W; allow more: ,max=220" in reading.note
    assert reading.energy_j == pytest.approx(5 * 0.2), "before the rows that are none, and after them"


def test_a_stream_whose_rows_all_lie_beyond_the_range_says_so(bench, clock):
    bench.say("t_s,power_w")
    meter = bench.stream(first="0,5")
    meter.judge(Limits(0, 4))
    with pytest.raises(MeterError, match=r"expected rows of 0 to 4 W, got 5\.00 W"):
        meter.read()
