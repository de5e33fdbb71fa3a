"""The battery of a vehicle as its autopilot reports it: MAVLink's BATTERY_STATUS, through pymavlink (`pip install 'alula[mavlink]'`).

The message: voltages mV of up to 14 cells (65535 or 0: no such cell; a pack whose cells are unknown is the first one, and what is over
65.534 V the second), current_battery cA, current_consumed mAh, energy_consumed hJ (hundreds of joules); -1: the autopilot does not know.
Amperes are used where they are known, else the counters. The motors are in it: it is the vehicle's energy, not the board's.
Source: https://mavlink.io/en/messages/common.html#BATTERY_STATUS
"""

from __future__ import annotations

import contextlib
import functools
import io
import time
from pathlib import Path
from typing import Any

from alula.device.power.kinds import Candidate, Kind, Options, Trust
from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Clock, Reading
from alula.runtime.errors import MeterError, reason, require

COVERS = "the vehicle's battery, with motors and autopilot"
MESSAGE = "BATTERY_STATUS"
NO_CELL, MOST_CA = 0xFFFF, 0x7FFF
WAIT_S = 5.0  # for two messages: the log reads as often as they come
STALE_S, HOLE_S, HOLE_STEPS = 5.0, 3.0, 5.0
MIN_INTERVAL_S = 0.05
USAGE = "mavlink:URL like mavlink:udp:127.0.0.1:14550, tcp:HOST:PORT or /dev/serial0,baud=57600"


def pack_volts(message: Any) -> float | None:
    """Volts of the whole pack, or None if no cell is known."""
    cells = [mv for mv in message.voltages if 0 < mv < NO_CELL]
    cells += [mv for mv in getattr(message, "voltages_ext", ()) if 0 < mv < NO_CELL]
    return sum(cells) * 1e-3 if cells else None


class Mavlink:
    """The last message's power, and joules since the first.

    url     : as pymavlink takes it
    battery : the message's id, or None for that of the first message
    raise   : MeterError if the autopilot cannot be reached, or says nothing of its battery for WAIT_S; MissingExtraError
    """

    accuracy, covers = Accuracy.MEASURED, COVERS

    def __init__(
        self,
        url: str,
        battery: int | None = None,
        baud: int = 57600,
        clock: Clock = time.monotonic_ns,
        wait_s: float = WAIT_S,
    ) -> None:
        self.name, self._clock, self._battery = f"mavlink:{url}", clock, battery
        self.notes: tuple[str, ...] = ()
        mavutil: Any = require("pymavlink.mavutil", "mavlink", self.name)
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):  # it prints
                self._link: Any = mavutil.mavlink_connection(url, baud=baud, source_system=254)
        except (Exception, SystemExit) as error:  # of sockets and serial ports; its parser of URLs ends the program
            raise MeterError(
                f"{self.name}: expected an autopilot, got {reason(said.getvalue() or error)}; name it as {USAGE}"
            ) from error
        self._last: Reading | None = None
        self._counts: tuple[int, int] = (-1, -1)
        self._joules, self._note, self._restarted = 0.0, "", False
        self._came_ns = clock()
        self.interval_s, self._n_messages = MIN_INTERVAL_S, 0
        try:
            self._drain(wait_s)
            if self._last is None:
                raise MeterError(
                    f"{self.name}: expected {MESSAGE}, got none in {wait_s:g} s; set the autopilot's stream rate (SRx_EXT_STAT)"
                )
        except BaseException:
            self.close()
            raise

    def read(self) -> Reading:
        """The newest message, also if it was read before. raise: MeterError if there was none for a while"""
        self._drain(0.0)
        last, waited_s = self._last, (self._clock() - self._came_ns) / 1e9
        if last is None or waited_s > max(STALE_S, HOLE_STEPS * self.interval_s):
            raise MeterError(f"{self.name}: expected {MESSAGE}, got none for {waited_s:.1f} s; is the link up?")
        note, restarted, self._note, self._restarted = self._note, self._restarted, "", False
        return Reading(
            last.t_ns, last.power_w, self._joules, last.voltage_v, last.current_a, restarted=restarted, note=note
        )

    def close(self) -> None:
        self._link.close()

    def _drain(self, wait_s: float) -> None:
        """Take all messages that have come; wait for the first one up to wait_s."""
        until_s = time.monotonic() + wait_s
        try:
            while message := self._receive(until_s - time.monotonic() if self._n_messages < 2 else 0.0):
                if self._battery is None:
                    self._battery = message.id
                if message.id == self._battery:
                    self._take(message)
        except (OSError, ValueError) as error:
            raise MeterError(f"{self.name}: expected messages, got {reason(error)}; is the link up?") from error

    def _receive(self, wait_s: float) -> Any:
        return self._link.recv_match(type=MESSAGE, blocking=wait_s > 0, timeout=max(wait_s, 0.0) or None)

    def _take(self, message: Any) -> None:
        t_ns = self._came_ns = self._clock()
        voltage_v, amps = pack_volts(message), message.current_battery
        counts = (message.energy_consumed, message.current_consumed)
        current_a = None if amps == -1 else amps * 1e-2
        power_w = None if voltage_v is None or current_a is None else voltage_v * current_a
        used_j = self._used(counts, voltage_v)
        if power_w is None and used_j is None:
            raise MeterError(
                f"{self.name}: expected amperes and volts, or a counter, got neither; set up the autopilot's power module"
            )
        if abs(amps) >= MOST_CA:
            self._note = f"{self.name}: amperes are at the end of the message's range (327 A)"
        last = self._last
        self._n_messages += 1
        if self._n_messages == 2 and last is not None:
            self.interval_s = max((t_ns - last.t_ns) / 1e9, MIN_INTERVAL_S)
        self._last = Reading(t_ns, power_w, self._joules, voltage_v, current_a)
        self._counts = counts
        if last is None:
            return
        if power_w is not None and last.power_w is not None:
            seconds = (t_ns - last.t_ns) / 1e9
            if seconds > max(HOLE_S, HOLE_STEPS * self.interval_s):
                self._restarted, self._note = True, f"{self.name}: no message for {seconds:.1f} s"
            else:
                self._joules += (last.power_w + power_w) / 2 * seconds
        else:
            self._joules += used_j or 0.0

    def _used(self, counts: tuple[int, int], voltage_v: float | None) -> float | None:
        """Joules since the last message by its counters, None if it has none."""
        steps_j = (100.0, None if voltage_v is None else 3.6 * voltage_v)
        for count, before, step_j in zip(counts, self._counts, steps_j, strict=True):
            if count < 0 or step_j is None:
                continue
            if count < before:
                self._restarted, self._note = True, f"{self.name}: the counter began anew: the autopilot restarted"
            return max(count - before, 0) * step_j if before >= 0 else 0.0
        return None


def _open(rest: str, options: Options, root: Path, clock: Clock) -> Mavlink:
    options.only("baud", "battery")
    if not rest:
        raise MeterError(f"power meter: expected {USAGE}, got 'mavlink'")
    baud, battery = options.number("baud", 57600, above=0), options.number("battery", above=-1)
    return Mavlink(rest, None if battery is None else int(battery), int(baud or 57600), clock)


def _survey(root: Path, clock: Clock) -> list[Candidate]:
    missing = functools.partial(Candidate, "mavlink:URL", Trust.ASKED, None, Accuracy.MEASURED, COVERS)
    return [
        missing(
            "an address of an autopilot", "name it: mavlink:udp:127.0.0.1:14550, say (pip install 'alula[mavlink]')"
        )
    ]


KIND = Kind("mavlink", "mavlink:URL", _open, _survey, limits=Limits(-5000.0, 5000.0))
