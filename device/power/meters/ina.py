"""Registers of TI's power monitors: INA219, INA226, INA260, INA3221, INA228, INA238. Nothing is ever written to a chip.

Amperes are volts over the shunt (its register) divided by Ohm, so the calibration register, which another program may have set for
another shunt, plays no part. All registers are big-endian.
Sources: TI data sheets SBOS448, SBOS547, SBOS656, SBOS576, SBOS787, SBOS982.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from alula.runtime.errors import MeterError

Read = Callable[[int, int], int]  # (register, bytes) -> unsigned integer

TI = 0x5449
AVERAGES = (1, 4, 16, 64, 128, 256, 512, 1024)
TIMES_US = (140, 204, 332, 588, 1100, 2116, 4156, 8244)
TIMES_228_US = (50, 84, 150, 280, 540, 1052, 2074, 4120)
TIMES_219_US = (84, 148, 276, 532, 84, 148, 276, 532, 532, 1060, 2130, 4260, 8510, 17020, 34050, 68100)


@dataclass(frozen=True)
class Setup:
    """How a chip is set.

    conversion_s : from one sample to the next
    off          : why there will be no new samples; '' if there will
    limit_v      : volts over the shunt at which it saturates; 0 if the shunt is inside
    counter      : joules times Ohm for one step of its energy counter; 0 if it has none
    """

    conversion_s: float
    off: str
    limit_v: float
    counter: float = 0.0


@dataclass(frozen=True)
class Sample:
    """Volts of the bus, and volts over the shunt, or amperes where the shunt is inside."""

    bus_v: float
    shunt_v: float = 0.0
    current_a: float | None = None


class Chip(Protocol):
    """What the meter needs of a chip. `max_v`: more than that on the bus is a broken line."""

    name: str
    max_v: float
    channels: int

    def setup(self, read: Read, channel: int) -> Setup: ...
    def is_fresh(self, read: Read) -> bool: ...
    def sample(self, read: Read, channel: int) -> Sample: ...


def signed(value: int, bits: int) -> int:
    """Two's complement."""
    return value - (1 << bits) if value >> (bits - 1) else value


class Ina219:
    """12 bits, no identity; the gain of the shunt's amplifier is in its configuration."""

    name, max_v, channels = "ina219", 32.0, 1

    def setup(self, read: Read, channel: int) -> Setup:
        config = read(0, 2)
        micros = TIMES_219_US[config >> 7 & 15] + TIMES_219_US[config >> 3 & 15]
        return Setup(micros * 1e-6, _off(config & 7), 0.04 * (1 << (config >> 11 & 3)))

    def is_fresh(self, read: Read) -> bool:
        fresh = bool(read(2, 2) & 2)
        read(3, 2)  # reading the power register clears the flag
        return fresh

    def sample(self, read: Read, channel: int) -> Sample:
        return Sample((read(2, 2) >> 3) * 4e-3, signed(read(1, 2), 16) * 1e-5)


class Ina226:
    """16 bits, averages in the chip."""

    name, max_v, channels = "ina226", 36.5, 1
    limit_v = 0.0819

    def setup(self, read: Read, channel: int) -> Setup:
        config = read(0, 2)
        return Setup(_conversion_s(config), _off(config & 7), self.limit_v)

    def is_fresh(self, read: Read) -> bool:
        return bool(read(6, 2) & 8)  # reading it clears it

    def sample(self, read: Read, channel: int) -> Sample:
        return Sample(read(2, 2) * 1.25e-3, signed(read(1, 2), 16) * 2.5e-6)


class Ina260(Ina226):
    """An INA226 with a shunt of 2 mOhm inside: register 1 is amperes."""

    name, limit_v = "ina260", 0.0

    def sample(self, read: Read, channel: int) -> Sample:
        return Sample(read(2, 2) * 1.25e-3, current_a=signed(read(1, 2), 16) * 1.25e-3)


class Ina3221:
    """Three channels, each of which may be off."""

    name, max_v, channels = "ina3221", 32.0, 3

    def setup(self, read: Read, channel: int) -> Setup:
        config = read(0, 2)
        on = config >> 12 & 7
        off = _off(config & 7) if on & 8 >> channel else f"channel {channel} is off"
        return Setup(_conversion_s(config) * on.bit_count(), off, 0.1638)

    def is_fresh(self, read: Read) -> bool:
        return bool(read(0xF, 2) & 1)

    def sample(self, read: Read, channel: int) -> Sample:
        shunt = signed(read(2 * channel - 1, 2), 16) >> 3
        return Sample((signed(read(2 * channel, 2), 16) >> 3) * 8e-3, shunt * 4e-5)


class Ina238:
    """16 bits, to 85 V."""

    name, max_v, channels = "ina238", 85.5, 1
    has_counter = False

    def setup(self, read: Read, channel: int) -> Setup:
        fine, adc = read(0, 2) >> 4 & 1, read(1, 2)
        mode, times = adc >> 12, [TIMES_228_US[adc >> shift & 7] for shift in (9, 6, 3)]
        micros = sum(time for bit, time in enumerate(times) if mode >> bit & 1) * AVERAGES[adc & 7]
        off = "" if mode in (0xB, 0xF) else f"its mode is {mode:#x}: it does not measure volts and amperes all the time"
        counter = 0.0
        if (
            self.has_counter
        ):  # its step is 51.2 current steps; a current step is SHUNT_CAL / (13107.2e6 x 4 if fine x Ohm)
            counter = 51.2 * (read(2, 2) & 0x7FFF) / (13107.2e6 * (4 if fine else 1))
        return Setup(micros * 1e-6, off, 0.04096 if fine else 0.16384, counter)

    def is_fresh(self, read: Read) -> bool:
        return bool(read(0xB, 2) & 2)

    def sample(self, read: Read, channel: int) -> Sample:
        step_v = 1.25e-6 if read(0, 2) >> 4 & 1 else 5e-6
        return Sample(read(5, 2) * 3.125e-3, signed(read(4, 2), 16) * step_v)


class Ina228(Ina238):
    """20 bits, and a counter of energy of 40 bits."""

    name, has_counter = "ina228", True

    def sample(self, read: Read, channel: int) -> Sample:
        step_v = 78.125e-9 if read(0, 2) >> 4 & 1 else 312.5e-9
        return Sample((read(5, 3) >> 4) * 195.3125e-6, signed(read(4, 3) >> 4, 20) * step_v)

    @staticmethod
    def count(read: Read) -> int:
        """The energy counter; it wraps at 2^40."""
        return read(9, 5)


CHIPS: dict[str, Chip] = {chip.name: chip for chip in (Ina219(), Ina226(), Ina260(), Ina3221(), Ina228(), Ina238())}
DIES_16 = {0x226: "ina226", 0x227: "ina260", 0x322: "ina3221"}
DIES_8 = {0x228: "ina228", 0x237: "ina238", 0x238: "ina238"}
AT_POWER_ON = {0x399F: "ina219", 0x4127: "ina226", 0x6127: "ina260", 0x7127: "ina3221"}


def identify(read: Read, where: str) -> Chip:
    """Which chip answers, by its maker's and its die's number; an INA219 has none, and is one as it is set at power-on.

    raise : MeterError if it is none of CHIPS
    """
    config = read(0, 2)
    if AT_POWER_ON.get(config) == "ina219":
        return CHIPS["ina219"]
    for maker, die, dies in ((0xFE, 0xFF, DIES_16), (0x3E, 0x3F, DIES_8)):
        if read(maker, 2) == TI and (name := dies.get(read(die, 2) >> 4)):
            return CHIPS[name]
    raise MeterError(f"{where}: expected one of {', '.join(CHIPS)}, got a chip without their identity (register 0 is {config:#06x}); "
                     f"if you know it, name it: chip=ina219")  # fmt: skip


def looks_like_one(config: int) -> bool:
    """Whether register 0 has the value of one of the chips at power-on: enough to ask it for its identity."""
    return config in AT_POWER_ON


def _conversion_s(config: int) -> float:
    return AVERAGES[config >> 9 & 7] * (TIMES_US[config >> 6 & 7] + TIMES_US[config >> 3 & 7]) * 1e-6


def _off(mode: int) -> str:
    return "" if mode == 7 else f"its mode is {mode}: it does not measure volts and amperes all the time"
