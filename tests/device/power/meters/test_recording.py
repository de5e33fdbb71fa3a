"""Recorded traces as meters."""

from __future__ import annotations

import pytest

from alula.device.power.log import EnergyLog
from alula.device.power.meters.recording import Replay
from alula.device.power.select import select_meter
from alula.runtime.errors import MeterError


def trace(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "0,2\n1,4\n2,4\n",
        "0,5,0.4\n1,5,0.8\n2,5,0.8\n",
        "# bench meter\ntime,power\n100,2\n101,4\n102,4\n",
        "Timestamp,Voltage,Current\n100,5,0.4\n101,5,0.8\n102,5,0.8\n",
        "t_s,power_w,flag\n0,2,\n0.5,,failed\n1,4,\n2,4,\n",
    ],
)
def test_power_and_its_integral_follow_the_trace(tmp_path, clock, text):
    meter = Replay(trace(tmp_path, text), clock=clock)
    assert meter.read().power_w == pytest.approx(2.0)
    clock.advance(0.5)
    assert meter.read().power_w == pytest.approx(3.0)
    clock.advance(1.0)
    assert meter.read().energy_j == pytest.approx(3.0 + 2.0)


def test_volts_and_amperes_are_passed_on(tmp_path, clock):
    reading = Replay(trace(tmp_path, "t,v,a\n0,5,0.4\n1,5,0.4\n"), clock=clock).read()
    assert (reading.voltage_v, reading.current_a) == (5.0, 0.4)


def test_the_offset_aligns_the_trace_with_the_flight(tmp_path, clock):
    path = trace(tmp_path, "0,2\n1,4\n2,6\n")
    assert Replay(path, offset_s=1.0, clock=clock).read().power_w == pytest.approx(4.0)
    with pytest.raises(MeterError, match="begins later"):
        Replay(path, offset_s=-1.0, clock=clock).read()


def test_after_its_end_the_meter_has_vanished_unless_it_loops(tmp_path, clock):
    path = trace(tmp_path, "0,2\n1,2\n2,2\n")
    once, again = Replay(path, clock=clock), Replay(path, loop=True, clock=clock)
    again.read()
    clock.advance(5)
    with pytest.raises(MeterError, match="has ended"):
        once.read()
    assert again.read().energy_j == pytest.approx(10.0)


def test_a_hole_is_neither_power_nor_energy(tmp_path, clock):
    rows = "".join(f"{t},2\n" for t in (0, 1, 2, 3, 4, 14, 15, 16))
    meter = Replay(trace(tmp_path, rows), clock=clock)
    meter.read()
    clock.advance(8)
    with pytest.raises(MeterError, match="hole in the trace"):
        meter.read()
    clock.advance(7)
    reading = meter.read()
    assert reading.restarted
    assert reading.energy_j == pytest.approx(2 * (4 + 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least two rows"),
        ("0,2\n", "at least two rows"),
        ("0,2\n1,x\n", "trace.csv:2: expected numbers"),
        ("0,2\n1,nan\n", "trace.csv:2: expected finite"),
        ("1,2\n0,2\n", "trace.csv:2: expected t >= 1.0"),
        ("0,1,2,3\n0,1,2,3\n", "expected 2 columns"),
        ("t,temperature\n0,1\n", "expected columns t_s and power_w"),
        ("t,v\n0,1\n", "expected columns t_s and power_w"),
    ],
)
def test_a_damaged_trace_names_the_place(tmp_path, text, message):
    with pytest.raises(MeterError, match=message):
        Replay(trace(tmp_path, text))


def test_a_missing_or_binary_file_is_a_meter_error(tmp_path):
    with pytest.raises(MeterError, match=r"expected a CSV"):
        Replay(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(MeterError):
        Replay(tmp_path / "b.csv")


def test_the_logs_own_csv_can_be_replayed(tmp_path, clock):
    meter = Replay(trace(tmp_path, "0,2\n1,2\n2,2\n3,2\n"), clock=clock)
    with EnergyLog(meter, tmp_path / "log.csv", rate_hz=0, gap_after_s=10, clock=clock) as log:
        for _ in range(3):
            clock.advance(0.9)
            log.sample()
    again = Replay(tmp_path / "log.csv", clock=clock)
    again.read()
    clock.advance(2.7)
    assert again.read().energy_j == pytest.approx(log.summary()["energy_j"], rel=1e-5)


def test_a_row_beyond_the_range_is_a_hole_and_no_energy(tmp_path, clock):
    rows = [f"{step / 10},{110 if step == 10 else 5}" for step in range(31)]
    spec = f"csv:{trace(tmp_path, chr(10).join(rows))},replay=0"
    with EnergyLog(select_meter(spec, clock=clock), rate_hz=0, clock=clock) as log:
        for _ in range(25):
            clock.advance(0.1)
            log.sample()
    found = log.summary()
    assert found["energy_j"] == pytest.approx(12.5)
    assert found["peak_w"] == pytest.approx(5.0)
    assert found["gap"]["seconds"] > 0 and found["by_class_j"]["measured"] < 12.5
    assert any("got 110.00 W; allow more: ,max=220" in note for note in found["notes"])


def test_rows_of_a_recording_are_samples_and_bound_its_energy_as_such(tmp_path, clock):
    rows = [f"{step / 10},{4 + step % 2}" for step in range(101)]
    spec = f"csv:{trace(tmp_path, chr(10).join(rows))},replay=0,max=10"
    with EnergyLog(select_meter(spec, clock=clock), rate_hz=0, clock=clock) as log:
        for _ in range(100):
            clock.advance(0.1)
            log.sample()
    bound = log.summary()["bound"]
    assert bound["sampling_j"] == pytest.approx(4 * (100 * 0.1**2 / 2) ** 0.5) and bound["unseen_j"] > 0


def test_a_recording_of_what_cannot_be_is_refused(tmp_path, clock):
    with pytest.raises(MeterError, match=r"expected rows of -4 to 4 W, got 5\.00 W; allow more: ,max=10"):
        select_meter(f"csv:{trace(tmp_path, '0,5' + chr(10) + '1,5')},replay=0,max=4", clock=clock)
