"""INA power monitors through the kernel's hwmon drivers: the preferred sensor on a Pi, and no library is needed.

`hwmonN` changes with every boot, so a chip is found by its name and identified by its I2C address.
Files: in*_input mV, curr*_input mA (signed), power*_input uW, energy1_input uJ, shunt_resistor uOhm.
Source: Linux Documentation/hwmon/ina2xx.rst, ina238.rst, ina3221.rst, drivers/hwmon/ina2xx.c.
"""

from __future__ import annotations

import functools
import re
import time
from dataclasses import dataclass
from pathlib import Path

from alula.device.power.kinds import Candidate, Kind, Options, Trust, offer
from alula.device.power.meter import Accuracy, Clock, Reading, timed
from alula.device.power.shunt import COVERS, LIMITS, channel_number, doubtful, implausible, one_of_many, shunt_ohm
from alula.device.power.sysfs import read_int, read_text
from alula.runtime.errors import MeterError

CHIPS = frozenset(
    ("ina209", "ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina232", "ina233", "ina234", "ina236")
    + ("ina237", "ina238", "ina260", "ina3221", "ina700", "ina780", "sq52206", "sy24655")
)
DRIVER_DEFAULT_SHUNT_UOHM = 10_000
# How often a value is new at the driver's default settings; chips not named here say it in update_interval.
CONVERSION_S = {"ina209": 0.0681, "ina219": 0.0681, "ina220": 0.0681, "ina3221": 0.0681}
DEFAULT_CONVERSION_S = 0.0352


@dataclass(frozen=True)
class Chip:
    """One power monitor: its hwmon folder, its driver's name, and its place on the bus (`1-0040`)."""

    folder: Path
    name: str
    address: str


def find_chips(root: Path | str = "/sys/class/hwmon") -> list[Chip]:
    """All power monitors below `root`, those with an energy counter first, then by address."""
    chips = []
    for folder in Path(root).glob("hwmon*"):
        if (folder / "name").exists():
            try:
                name = read_text(folder / "name")
            except MeterError:  # unbound while we looked
                continue
            if name in CHIPS:
                device = folder / "device"
                chips.append(Chip(folder, name, device.resolve().name if device.exists() else folder.name))
    return sorted(chips, key=lambda chip: (not (chip.folder / "energy1_input").exists(), chip.address))


def channels(chip: Chip) -> list[int]:
    """Channels that have a current or a power file, and are not switched off."""
    numbers = {int(found.group(1)) for path in chip.folder.glob("*_input")
               if (found := re.fullmatch(r"(?:curr|power)([123])_input", path.name))}  # fmt: skip
    return sorted(number for number in numbers if not _is_off(chip.folder, number))


def _is_off(folder: Path, channel: int) -> bool:
    """Whether the driver says that a channel is off: its files are there, and give an error or an old value."""
    path = folder / f"in{channel}_enable"
    return path.exists() and read_text(path) == "0"


class Hwmon:
    """One INA2xx, INA3221 or relative that has a kernel driver.

    chip    : address (`1-0040`) or driver name (`ina219`), or None where there is only one
    channel : of an INA3221, 1 to 3
    shunt_ohm : in Ohm, if the driver takes another value than the board has; amperes are put right
    raise   : MeterError if there is no such chip, more than one, or it cannot be read
    """

    def __init__(
        self,
        chip: str | None = None,
        channel: int = 1,
        root: Path | str = "/sys/class/hwmon",
        clock: Clock = time.monotonic_ns,
        shunt_ohm: float | None = None,
    ) -> None:
        self._clock = clock
        self.chip = _choose(find_chips(root), chip, Path(root))
        folder = self.chip.folder
        self._volt = folder / f"in{channel}_input"
        self._current = folder / f"curr{channel}_input"
        self._power = folder / f"power{channel}_input"
        self._energy = folder / "energy1_input"
        self._has_vi = self._volt.exists() and self._current.exists()
        self._has_power, self._has_energy = self._power.exists(), self._energy.exists()
        if not (self._has_vi or self._has_power):
            raise MeterError(
                f"{folder}: expected curr{channel}_input and in{channel}_input, or power{channel}_input, got neither; "
                f"is channel {channel} of {self.chip.name} right?"
            )
        if _is_off(folder, channel):
            raise MeterError(
                f"{folder}: expected channel {channel} to be on, got in{channel}_enable 0; "
                f"run: echo 1 | sudo tee {folder}/in{channel}_enable"
            )
        suffix = f":{channel}" if channel != 1 else ""
        self.name = f"hwmon:{self.chip.name}@{self.chip.address}{suffix}"
        label = folder / f"in{channel}_label"
        self.covers = f"{COVERS} of {read_text(label) if label.exists() else self.chip.name}"
        self.interval_s = self._interval_s()
        self.window_s = self.interval_s if (folder / "update_interval").exists() else 0.0  # of averages
        self._shunt = self._shunt_file(channel)
        self._gain = 1.0 if shunt_ohm is None else self._driver_ohm() / shunt_ohm
        doubted = shunt_ohm is None and self._has_default_shunt()
        self.accuracy = Accuracy.GUESSED if doubted else Accuracy.MEASURED
        self._first_uj: int | None = None
        self._last_uj = 0
        self._offset_uj = 0
        self.notes = self._warnings(self.read())

    def read(self) -> Reading:
        """Power now; volts and amperes where the chip has both; energy where it has a counter."""
        t_ns, (volt_mv, current_ma, power_uw, energy_uj) = timed(self._read_all, self._clock)
        voltage_v = None if volt_mv is None else volt_mv * 1e-3
        current_a = None if current_ma is None else current_ma * 1e-3 * self._gain
        if voltage_v is not None and current_a is not None:
            # Not power1_input: the INA219's power register is unsigned, and a battery is charged as well as discharged.
            power_w = voltage_v * current_a
        else:
            assert power_uw is not None
            power_w = power_uw * 1e-6 * self._gain
        energy_j, note = self._count(energy_uj)
        return Reading(t_ns, power_w, energy_j, voltage_v, current_a, restarted=bool(note), note=note)

    def close(self) -> None:
        """Nothing is held open."""

    def _read_all(self) -> tuple[int | None, int | None, int | None, int | None]:
        volt_mv = read_int(self._volt) if self._has_vi else None
        current_ma = read_int(self._current) if self._has_vi else None
        power_uw = None if self._has_vi else read_int(self._power)
        return volt_mv, current_ma, power_uw, read_int(self._energy) if self._has_energy else None

    def _count(self, energy_uj: int | None) -> tuple[float | None, str]:
        """Joules since the meter was opened, and a note if the counter restarted (its range is not published)."""
        if energy_uj is None:
            return None, ""
        note = ""
        if self._first_uj is None:
            self._first_uj = self._last_uj = energy_uj
        elif energy_uj < self._last_uj:
            note = f"{self.name}: the energy counter began anew"
            self._offset_uj += self._last_uj - self._first_uj
            self._first_uj = energy_uj
        self._last_uj = energy_uj
        return (self._offset_uj + energy_uj - self._first_uj) * 1e-6 * self._gain, note

    def _interval_s(self) -> float:
        path = self.chip.folder / "update_interval"
        if path.exists():
            return max(read_int(path) * 1e-3, 1e-3)
        return CONVERSION_S.get(self.chip.name, DEFAULT_CONVERSION_S)

    def _shunt_file(self, channel: int) -> Path:
        own = self.chip.folder / f"shunt{channel}_resistor"  # an INA3221 has three
        return own if own.exists() else self.chip.folder / "shunt_resistor"

    def _driver_ohm(self) -> float:
        if not self._shunt.exists():
            raise MeterError(
                f"{self.name}: expected a chip whose shunt can be said, got one with none; leave shunt= out"
            )
        return read_int(self._shunt) * 1e-6

    def _has_default_shunt(self) -> bool:
        if self.chip.name not in ("ina219", "ina220") or not self._shunt.exists():
            return False
        return read_int(self._shunt) == DRIVER_DEFAULT_SHUNT_UOHM

    def _warnings(self, reading: Reading) -> tuple[str, ...]:
        """What looks wrong with this chip's settings, judged from its files and one reading."""
        warnings = []
        power_w = reading.power_w or 0.0
        if self.accuracy is Accuracy.GUESSED:
            warnings.append(
                f"{self.name}: shunt_resistor is {DRIVER_DEFAULT_SHUNT_UOHM} uOhm, the driver's default, but most "
                f"boards carry 0.1 Ohm (printed R100) and then read ten times too much; "
                f"if yours does, name it (,shunt=0.1) or run: echo 100000 | sudo tee {self._shunt}"
            )
        if odd := implausible(self.name, power_w):
            warnings.append(odd)
        if self._has_vi and self._has_power:
            register_w = read_int(self._power) * 1e-6 * self._gain
            if abs(register_w - abs(power_w)) > max(0.3, 0.2 * abs(power_w)):
                warnings.append(f"{self.name}: power register says {register_w:.2f} W, volts x amperes {power_w:.2f} W")
        return tuple(warnings)


def _choose(chips: list[Chip], wanted: str | None, root: Path) -> Chip:
    fitting = [chip for chip in chips if wanted is None or wanted in (chip.address, chip.name, chip.folder.name)]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(f"{chip.name} at {chip.address}" for chip in chips) or "none"
    if not fitting:
        raise MeterError(
            f"{root}: expected a power monitor{f' {wanted}' if wanted else ' (ina219, ina226, ...)'}, got {there}; "
            f"for an INA219 at 0x40 run: echo ina219 0x40 | sudo tee /sys/bus/i2c/devices/i2c-1/new_device"
        )
    example = f"hwmon:{fitting[0].address}"
    raise MeterError(f"{root}: expected one power monitor, got {there}; choose one by its address: {example}")


def _open(rest: str, options: Options, root: Path, clock: Clock) -> Hwmon:
    options.only("shunt")
    address, _, channel = rest.partition(":")
    number = channel_number(options.spec, channel)
    return Hwmon(address or None, number, root / "sys/class/hwmon", clock, shunt_ohm(options))


def _survey(root: Path, clock: Clock) -> list[Candidate]:
    folder = root / "sys/class/hwmon"
    names = [(chip, channel) for chip in find_chips(folder) for channel in channels(chip)]
    if not names:
        return [
            offer("hwmon", Trust.SHUNT, Accuracy.MEASURED, COVERS, functools.partial(Hwmon, root=folder, clock=clock))
        ]
    found = []
    for chip, channel in names:
        spec = f"hwmon:{chip.address}" + (f":{channel}" if channel != 1 else "")
        trust = Trust.COUNTER if (chip.folder / "energy1_input").exists() else Trust.SHUNT
        make = functools.partial(Hwmon, chip.address, channel, folder, clock)
        found.append(doubtful(offer(spec, trust, Accuracy.MEASURED, COVERS, make)))
    return one_of_many(found)


KIND = Kind("hwmon", "hwmon[:NAME]", _open, _survey, limits=LIMITS)
