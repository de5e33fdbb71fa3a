"""A battery or UPS that the kernel knows: laptops, fuel gauges (MAX17xxx, BQ27xxx), UPS HATs with a driver.

Files below /sys/class/power_supply/NAME: voltage_now uV, current_now uA, power_now uW, energy_now uWh, charge_now uAh, capacity %, status,
type, scope. The sign of current_now is the driver's mood (negative is discharging, by the rules), so `status` says the direction.
Where volts and amperes are there, they are used; else the counter of energy or charge, which moves in steps of seconds or minutes.
While the battery charges or the supply feeds the board, it says nothing about the board: there is no reading then.
Source: Linux Documentation/ABI/testing/sysfs-class-power.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path

from alula.device.power.kinds import Candidate, Kind, Options, Trust, offer
from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Clock, Reading, timed
from alula.device.power.sysfs import read_int, read_text
from alula.runtime.errors import MeterError

FOLDER = "sys/class/power_supply"
COVERS = "whatever the battery feeds"
J_PER_UWH, AS_PER_UAH = 3.6e-3, 3.6e-3
IDLE = ("charging", "full", "not charging")


def find_batteries(root: Path | str = "/") -> list[Path]:
    """Folders of batteries and UPSs; those of mice and phones are left out."""
    found = []
    for folder in sorted((Path(root) / FOLDER).glob("*")):
        kind, scope, there = (_word(folder, name) for name in ("type", "scope", "present"))
        if kind in ("battery", "ups") and scope != "device" and there != "0":
            found.append(folder)
    return found


def charge_ratio(root: Path | str = "/", name: str = "") -> float:
    """How full the battery is, 0 to 1. raise: MeterError if there is none, or it does not say"""
    folder = _choose(root, name)
    for now, full in (("energy_now", "energy_full"), ("charge_now", "charge_full")):
        if (folder / now).exists() and (folder / full).exists() and (whole := read_int(folder / full)) > 0:
            return min(max(read_int(folder / now) / whole, 0.0), 1.0)
    if not (folder / "capacity").exists():
        raise MeterError(f"{folder}: expected capacity, got none; this battery does not say how full it is")
    return min(max(read_int(folder / "capacity") / 100, 0.0), 1.0)


class Battery:
    """The power out of a battery.

    name  : of its folder, or '' where there is only one
    raise : MeterError if there is none, or it does not say enough for joules
    """

    accuracy, covers = Accuracy.MEASURED, COVERS

    def __init__(self, name: str = "", root: Path | str = "/", clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock
        self._folder = folder = _choose(root, name)
        self.name = f"battery:{folder.name}"
        self.notes: tuple[str, ...] = ()
        there = {
            file: (folder / file).exists()
            for file in ("voltage_now", "current_now", "power_now", "energy_now", "charge_now")
        }
        self._watts = ["power_now"] if there["power_now"] else []
        if there["voltage_now"] and there["current_now"]:
            self._watts = ["voltage_now", "current_now"]
        self._counter = (
            "energy_now"
            if there["energy_now"]
            else "charge_now"
            if there["charge_now"] and there["voltage_now"]
            else ""
        )
        if (
            self._watts and self._counter and read_int(folder / self._watts[-1]) == 0
        ):  # a gauge that cannot measure amperes says 0
            self._watts = []
        if not (self._watts or self._counter):
            raise MeterError(f"{self.name}: expected amperes or a counter, got a percentage and volts; "
                             "that is enough to end a mission, not for joules: fit an INA226")  # fmt: skip
        self.interval_s = 1.0 if self._watts else 5.0
        self._last: Reading | None = None
        self._count, self._used_j = 0, 0.0

    def read(self) -> Reading:
        """Power, or joules since the first reading. raise: MeterError while the supply feeds the board"""
        status = _word(self._folder, "status")
        if status in IDLE:
            raise MeterError(f"{self.name}: expected a battery that feeds the board, got one that is {status}; unplug the supply, "
                             "or use a meter between supply and board")  # fmt: skip
        return self._power(status) if self._watts else self._energy()

    def close(self) -> None:
        """Nothing is held open."""

    def _power(self, status: str) -> Reading:
        t_ns, values = timed(lambda: [read_int(self._folder / file) * 1e-6 for file in self._watts], self._clock)
        note = (
            ""
            if status == "discharging"
            else f"{self.name}: it does not say whether it charges: taken as feeding the board"
        )
        if len(values) == 1:
            return Reading(t_ns, abs(values[0]), note=note)
        voltage_v, current_a = values[0], abs(values[1])
        return Reading(t_ns, voltage_v * current_a, voltage_v=voltage_v, current_a=current_a, note=note)

    def _energy(self) -> Reading:
        """A new reading when the counter has moved; until then the last one, with its time."""
        t_ns, count = timed(lambda: read_int(self._folder / self._counter), self._clock)
        last, step = self._last, self._count - count
        if last is not None and step == 0:
            return last
        note = ""
        if last is not None and step < 0:
            note = f"{self.name}: the counter went up: it was charged in between"
        elif last is not None:
            volts = 1.0 if self._counter == "energy_now" else read_int(self._folder / "voltage_now") * 1e-6
            self._used_j += step * volts * (J_PER_UWH if self._counter == "energy_now" else AS_PER_UAH)
        self._count = count
        self._last = Reading(t_ns, energy_j=self._used_j, restarted=bool(note), note=note)
        return self._last


def _word(folder: Path, name: str) -> str:
    try:
        return read_text(folder / name).lower()
    except MeterError:
        return ""


def _choose(root: Path | str, name: str) -> Path:
    batteries = find_batteries(root)
    fitting = [folder for folder in batteries if name in ("", folder.name)]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(folder.name for folder in batteries) or "none"
    if fitting:
        raise MeterError(f"battery: expected one, got {there}; choose one: battery:{fitting[0].name}")
    raise MeterError(f"battery: expected {name or 'a battery'} below /{FOLDER}, got {there}; "
                     "a fuel gauge needs its overlay: dtoverlay=i2c-sensor,max17040, say")  # fmt: skip


def _open(rest: str, options: Options, root: Path, clock: Clock) -> Battery:
    options.only()
    return Battery(rest, root, clock)


def _survey(root: Path, clock: Clock) -> list[Candidate]:
    names = [folder.name for folder in find_batteries(root)]
    specs = [f"battery:{name}" for name in names] if len(names) > 1 else ["battery"]
    return [offer(spec, Trust.BATTERY, Accuracy.MEASURED, COVERS, functools.partial(Battery, spec.partition(":")[2], root, clock))
            for spec in specs]  # fmt: skip


KIND = Kind("battery", "battery", _open, _survey, limits=Limits(0.0, 2000.0))
