"""A vehicle's battery over UDP on this machine, as an autopilot sends it."""

from __future__ import annotations

import socket
import threading

import pytest

from alula.device.power import select_meter
from alula.device.power.meters.mavlink import Mavlink
from alula.runtime.errors import MeterError, MissingExtraError

NONE = 0xFFFF


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Autopilot:
    """Sends BATTERY_STATUS. say() waits until the meter's socket has it: on the loopback, that is at once."""

    def __init__(self, mavutil, port):
        self.link = mavutil.mavlink_connection(f"udpout:127.0.0.1:{port}", source_system=1)

    def say(self, cells=(4000, 4000, 4000), current=150, mah=-1, hj=-1, battery=0):
        voltages = [*cells, *[NONE] * (10 - len(cells))]
        self.link.mav.battery_status_send(battery, 0, 0, 0x7FFF, voltages, current, mah, hj, 80)

    def meter(self, url, clock, **first):
        """A meter, with the first message sent over and over until it has come."""
        done = threading.Event()

        def insist():
            while not done.wait(0.01):
                self.say(**first)

        sender = threading.Thread(target=insist)
        sender.start()
        try:
            return Mavlink(url, clock=clock)
        finally:
            done.set()
            sender.join()


@pytest.fixture
def autopilot():
    mavutil = pytest.importorskip("pymavlink.mavutil", reason="needs the extra mavlink")
    made = Autopilot(mavutil, free_port())
    yield made
    made.link.close()


@pytest.fixture
def url(autopilot):
    return f"udpin:127.0.0.1:{autopilot.link.destination_addr[1]}"


def test_watts_are_cells_times_centiamperes_and_joules_their_sum(autopilot, url, clock):
    meter = autopilot.meter(url, clock)
    meter.read()
    for _ in range(10):
        clock.advance(0.5)
        autopilot.say(current=250)
        reading = meter.read()
    assert (reading.voltage_v, reading.current_a, reading.power_w) == pytest.approx((12.0, 2.5, 30.0))
    assert reading.energy_j == pytest.approx(24 * 0.5 + 30 * 4.5)
    assert meter.read() == reading, "no new message: the same reading, with the same time"
    meter.close()


def test_without_amperes_the_counter_of_hectojoules_is_used(autopilot, url, clock):
    meter = autopilot.meter(url, clock, current=-1, hj=500, mah=100)
    clock.advance(1)
    autopilot.say(current=-1, hj=503, mah=200)
    reading = meter.read()
    assert reading.energy_j == pytest.approx(300.0) and reading.power_w is None
    clock.advance(1)
    autopilot.say(current=-1, hj=1)
    again = meter.read()
    assert again.restarted and "the autopilot restarted" in again.note and again.energy_j == pytest.approx(300.0)
    meter.close()


def test_charge_and_volts_are_the_last_resort_and_nothing_is_an_error(autopilot, url, clock):
    meter = autopilot.meter(url, clock, current=-1, mah=100, cells=(12000,))
    clock.advance(1)
    autopilot.say(current=-1, mah=101, cells=(12000,))
    assert meter.read().energy_j == pytest.approx(3.6 * 12.0)
    autopilot.say(current=-1)
    with pytest.raises(MeterError, match="got neither; set up the autopilot's power module"):
        meter.read()
    meter.close()


def test_a_pack_over_65_volts_and_two_batteries(autopilot, url, clock):
    meter = autopilot.meter(url, clock, cells=(65534, 1466))
    autopilot.say(cells=(5000,), battery=1)
    assert meter.read().voltage_v == pytest.approx(67.0)
    meter.close()


def test_a_link_that_falls_silent_is_a_meter_that_vanished_and_may_come_back(autopilot, url, clock):
    meter = autopilot.meter(url, clock)
    meter.read()
    clock.advance(6)
    with pytest.raises(MeterError, match=r"got none for 6.0 s; is the link up"):
        meter.read()
    autopilot.say()
    reading = meter.read()
    assert reading.restarted and reading.energy_j == 0.0
    meter.close()


def test_nobody_there_and_names_that_mean_nothing(autopilot, url, clock, capsys):
    with pytest.raises(MeterError, match=r"expected BATTERY_STATUS, got none in 0.05 s"):
        Mavlink(url, clock=clock, wait_s=0.05)
    for spec in ("mavlink", "mavlink:udp:nothing", "mavlink:/dev/none"):
        with pytest.raises(MeterError, match="expected"):
            select_meter(spec)
    assert capsys.readouterr().out == ""


def test_without_pymavlink_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pymavlink", None)
    monkeypatch.delitem(__import__("sys").modules, "pymavlink.mavutil", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'alula\[mavlink\]'"):
        select_meter("mavlink:udp:127.0.0.1:14550")
