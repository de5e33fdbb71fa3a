"""INA power monitors on the I2C bus without a kernel driver, through smbus2 (`pip install 'alula[i2c]'`). Nothing is written.

The same register read twice within a conversion is one sample: the second reading has the time of the first, and the log books
nothing for it. Averages are the chip's own; the shunt's value is the user's to say.
"""

from __future__ import annotations

import errno
import functools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alula.device.power.access import remedy
from alula.device.power.board import identify as identify_board
from alula.device.power.kinds import Candidate, Kind, Options, Trust, offer
from alula.device.power.meter import Accuracy, Clock, Reading, timed
from alula.device.power.meters.ina import CHIPS, Ina228, Sample, identify, looks_like_one
from alula.device.power.shunt import (
    COVERS,
    LIMITS,
    USUAL_OHM,
    channel_number,
    doubtful,
    implausible,
    one_of_many,
    shunt_ohm,
)
from alula.runtime.errors import MeterError, MissingExtraError, require

USAGE = "i2c:BUS:ADDR[:CHANNEL][,shunt=OHM]"
ADDRESSES = range(0x40, 0x50)  # where these chips can be
STUCK_S = 1.0  # without a new sample, beside some conversions
COUNTER = 1 << 40


class Lines:
    """A bus, as the meter uses it: registers of one address, big-endian."""

    def __init__(self, root: Path, bus: int, address: int) -> None:
        self.path = root / f"dev/i2c-{bus}"
        self.where, self.twin = f"i2c:{bus}:{address:#04x}", f"hwmon:{bus}-{address:04x}"
        self._address = address
        smbus2 = require("smbus2", "i2c", self.where)
        try:
            self._bus: Any = smbus2.SMBus(str(self.path))
        except OSError as error:
            raise MeterError(self._opening(error)) from error

    def read(self, register: int, n_bytes: int) -> int:
        """raise: MeterError"""
        try:
            return int.from_bytes(self._bus.read_i2c_block_data(self._address, register, n_bytes), "big")
        except OSError as error:
            raise MeterError(self._reading(error)) from error

    def close(self) -> None:
        self._bus.close()

    def _opening(self, error: OSError) -> str:
        if error.errno == errno.EACCES:
            return f"{self.where}: expected to open /dev/{self.path.name}, got permission denied; " + remedy(
                self.path, "i2c", "i2c-*"
            )
        how = "run: sudo raspi-config nonint do_i2c 0 (or dtparam=i2c_arm=on in config.txt), and start again"
        return f"{self.where}: expected /dev/{self.path.name}, got {error.strerror or error}; {how}"

    def _reading(self, error: OSError) -> str:
        if error.errno == errno.EBUSY:
            return f"{self.where}: expected a chip without a driver, got one that the kernel reads; use {self.twin}"
        if error.errno in (errno.ENXIO, errno.EREMOTEIO):
            bus = self.where.split(":")[1]
            return f"{self.where}: expected a power monitor, got no answer; check the wires and the address: i2cdetect -y {bus}"
        return f"{self.where}: expected an answer, got {error.strerror or error}; check the wires, shorten them"


class I2c:
    """One channel of one chip.

    shunt_ohm : in Ohm; without it 0.1 is taken, and every figure is `guessed` (an INA260 has its own inside)
    chip      : its name, for one that has no identity and is not as at power-on
    raise     : MeterError if there is no such chip, it is off, or its shunt makes no sense; MissingExtraError
    """

    def __init__(
        self,
        bus: int,
        address: int,
        channel: int = 1,
        shunt_ohm: float | None = None,
        chip: str = "",
        root: Path | str = "/",
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._clock, self._channel = clock, channel
        self._lines = Lines(Path(root), bus, address)
        try:
            self.chip = CHIPS[chip] if chip else identify(self._lines.read, self._lines.where)
            self.name = f"i2c:{self.chip.name}@{bus}-{address:04x}" + (f":{channel}" if channel != 1 else "")
            if channel > self.chip.channels:
                there = f"{self.chip.channels} channel{'s' if self.chip.channels > 1 else ''}"
                raise MeterError(
                    f"{self._lines.where}: expected a channel of {self.chip.name}, got {channel} of {there}"
                )
            self._setup = self.chip.setup(self._lines.read, channel)
            inside = self._setup.limit_v == 0
            self._ohm = 1.0 if inside else shunt_ohm or USUAL_OHM
            self.accuracy = Accuracy.MEASURED if inside or shunt_ohm else Accuracy.GUESSED
            self.covers = f"{COVERS} of {self.chip.name}"
            self.window_s = self._setup.conversion_s
            self.interval_s = max(self._setup.conversion_s, 1e-3)
            self._last: Reading | None = None
            self._values: tuple[Sample | None, int | None] = None, None
            self._count = _Count(self._setup.counter / self._ohm)
            self.notes: tuple[str, ...] = ()
            self.notes = tuple(self._warnings(self.read()))
        except BaseException:
            self._lines.close()
            raise

    def read(self) -> Reading:
        """A new sample, or the last one again if there is none. raise: MeterError, also for a chip that stands still"""
        last = self._last
        if last is not None and self._clock() - last.t_ns < self._setup.conversion_s * 1e9:
            return last
        t_ns, (is_fresh, sample, count) = timed(self._ask, self._clock)
        if last is not None and not is_fresh and (sample, count) == self._values:
            if t_ns - last.t_ns > (STUCK_S + 5 * self._setup.conversion_s) * 1e9:
                self._setup = self.chip.setup(self._lines.read, self._channel)
                reason = self._setup.off or "it stands still"
                raise MeterError(f"{self.name}: expected new samples, got the same for over {STUCK_S:g} s; {reason}")
            return last
        if not 0 <= sample.bus_v <= self.chip.max_v:
            raise MeterError(
                f"{self.name}: expected 0 to {self.chip.max_v:g} V, got {sample.bus_v:.2f} V; check the wires"
            )
        self._values = sample, count
        current_a = sample.shunt_v / self._ohm if sample.current_a is None else sample.current_a
        energy_j, note = self._count.joules(count, current_a)
        restarted = bool(note)
        if self._setup.limit_v and abs(sample.shunt_v) >= 0.998 * self._setup.limit_v:
            note = note or f"{self.name}: saturated at {current_a:.2f} A: the figure is too small, fit a smaller shunt"
        power_w = sample.bus_v * current_a
        self._last = Reading(t_ns, power_w, energy_j, sample.bus_v, current_a, restarted=restarted, note=note)
        return self._last

    def close(self) -> None:
        """Closes the bus."""
        self._lines.close()

    def _ask(self) -> tuple[bool, Sample, int | None]:
        read = self._lines.read
        is_fresh = self.chip.is_fresh(read)
        counted = isinstance(self.chip, Ina228) and self._setup.counter > 0
        return is_fresh, self.chip.sample(read, self._channel), Ina228.count(read) if counted else None

    def _warnings(self, reading: Reading) -> Iterator[str]:
        if self._setup.off:
            raise MeterError(f"{self._lines.where}: expected a chip that measures, got one that does not: {self._setup.off}; "
                             "switch it off and on, or let the kernel's driver set it (hwmon)")  # fmt: skip
        if self.accuracy is Accuracy.GUESSED:
            yield f"{self.name}: the shunt is taken as {USUAL_OHM:g} Ohm, as nobody has said it: ,shunt=0.1 for R100, 0.01 for R010"
        if odd := implausible(self.name, reading.power_w or 0.0):
            yield odd


class _Count:
    """Joules of an energy counter since the first reading. It counts charging as use, so it ends where current turns."""

    def __init__(self, step_j: float) -> None:
        self._step_j, self._last, self._joules = step_j, -1, 0.0

    def joules(self, count: int | None, current_a: float) -> tuple[float | None, str]:
        if count is None or self._step_j == 0:
            return None, ""
        if current_a < 0:
            self._step_j = 0.0
            return None, "the current turned: the chip's counter of energy is left, and power is used"
        last, self._last = self._last, count
        if count < last < COUNTER // 2:  # it takes years to wrap: the chip was off
            return self._joules, "the chip's counter of energy began anew"
        if last >= 0:
            self._joules += (count - last) % COUNTER * self._step_j
        return self._joules, ""


def _open(rest: str, options: Options, root: Path, clock: Clock) -> I2c:
    options.only("shunt", "chip")
    found = re.fullmatch(r"(\d{1,3}):(0x[0-9a-fA-F]{2})(?::(.*))?", rest)
    if not found:
        raise MeterError(f"power meter: expected {USAGE} like i2c:1:0x40, got 'i2c:{rest}'")
    chip = options.values.get("chip", "").lower()
    if chip and chip not in CHIPS:
        raise MeterError(f"power meter {options.spec}: expected chip= and one of {', '.join(CHIPS)}, got '{chip}'")
    channel = channel_number(options.spec, found[3] or "")
    return I2c(int(found[1]), int(found[2], 16), channel, shunt_ohm(options), chip, root, clock)


def _survey(root: Path, clock: Clock) -> list[Candidate]:
    """Chips at their addresses on a Pi's buses. Asked is register 0 alone until its value is that of one of ours at power-on."""
    example = functools.partial(Candidate, "i2c:1:0x40", Trust.SHUNT, None, Accuracy.MEASURED, COVERS)
    buses = sorted(int(path.name[4:]) for path in (root / "dev").glob("i2c-*") if path.name[4:].isdecimal())
    if not identify_board(root).is_pi:
        return [example("not searched for: it is done on a Raspberry Pi alone", f"name it: {USAGE}")]
    if not buses:
        make = functools.partial(I2c, 1, ADDRESSES[0], root=root, clock=clock)  # for its reason
        return [offer("i2c:1:0x40", Trust.SHUNT, Accuracy.MEASURED, COVERS, make)]
    found: list[Candidate] = []
    trouble = ""
    for bus in buses:
        for address in ADDRESSES:
            if (root / f"sys/bus/i2c/devices/{bus}-{address:04x}").exists():  # the kernel's
                continue
            try:
                lines = Lines(root, bus, address)
            except (MeterError, MissingExtraError) as error:
                trouble = trouble or str(error)
                break
            found += _channels(lines, bus, address, root, clock)
    if found:
        return one_of_many([doubtful(candidate) for candidate in found])
    missing, _, how = (
        trouble or "i2c: no power monitor at 0x40 to 0x4f; wire one, or name one that is set otherwise"
    ).partition("; ")
    return [example(missing, how)]


def _channels(lines: Lines, bus: int, address: int, root: Path, clock: Clock) -> list[Candidate]:
    """The channels of the chip at an address, none if there is none."""
    try:
        if not looks_like_one(lines.read(0, 2)):
            return []
        chip = identify(lines.read, lines.where)
    except MeterError:
        return []
    finally:
        lines.close()
    found = []
    for channel in range(1, chip.channels + 1):
        spec = f"i2c:{bus}:{address:#04x}" + (f":{channel}" if channel > 1 else "")
        make = functools.partial(I2c, bus, address, channel, root=root, clock=clock)
        found.append(offer(spec, Trust.SHUNT, Accuracy.MEASURED, COVERS, make))
    return found


KIND = Kind("i2c", "i2c:BUS:ADDR[:CHANNEL]", _open, _survey, limits=LIMITS)
