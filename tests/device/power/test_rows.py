"""Rows of recordings and streams, as many tools write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alula.device.power.rows import Row, Rows
from alula.runtime.errors import MeterError

UNIX = 1_764_547_200.0  # 2025-12-01 00:00:00 UTC


@pytest.mark.parametrize(
    "text",
    [
        "7,3.06,5.1,0.6",
        "t_s,power_w,voltage_v,current_a\n7,3.06,5.1,0.6",
        "Time;Power [W];Voltage [V];Current [A]\n7;3,06;5,1;0,6",
        "time\tpower(mW)\tvoltage(mV)\tcurrent(mA)\n7\t3060\t5100\t600",
        "timestamp sample_in_packet voltage_V current_A dp_V dn_V temp_C_ema energy_Ws capacity_As\n7 0 5.1 0.6 0 0 20 0 0",
        '{"t": 7, "v": 5.1, "i": 0.6}',
        '{"time": "7", "voltage_v": 5.1, "current_a": 0.6, "note": "x"}',
        "# bench\n\ndate,w,v,a\n1970-01-01T00:00:07+00:00,3.06,5.1,0.6",
        "t_ms,v,a\n7000,5.1,0.6",
    ],
)
def test_one_row_however_it_is_written(text):
    if text == "7,3.06,5.1,0.6":
        text = "7,5.1,0.6"
    rows = Rows("f")
    row = [row for row in map(rows.line, text.splitlines()) if row][-1]
    assert (row.t_s, row.power_w, row.voltage_v, row.current_a) == pytest.approx((7, 3.06, 5.1, 0.6))


def test_time_may_be_unix_in_milliseconds_or_missing():
    assert Rows("f").line(f"{UNIX * 1000:.0f},3") == Row(UNIX, 3.0)
    rows = Rows("f")
    assert rows.line("power_w") is None
    assert rows.line("3.5") == Row(None, 3.5)


@pytest.mark.parametrize("text", ["t,w\n1,", "t,w\n,3", "t,v,a\n1,5,", '{"t": 1, "w": null}', "t,w\n1"])
def test_a_row_without_a_value_is_no_reading(text):
    rows = Rows("f")
    assert [rows.line(line) for line in text.splitlines()][-1] is None


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_garbage_is_a_meter_error_and_nothing_else(lines):
    rows = Rows("f")
    for line in lines:
        try:
            rows.line(line)
        except MeterError as error:
            assert "expected" in str(error)


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "{}", "{", '{"t": "x", "w": 1}', "t,w\n1,inf", "t,w\nx,1", "1,2,3,4", "t,temperature", '{"w": [1]}'],
)
def test_what_is_no_row_names_the_line(text):
    rows = Rows("f")
    with pytest.raises(MeterError, match=r"^f:?.*expected"):
        for line in text.splitlines():
            rows.line(line)
