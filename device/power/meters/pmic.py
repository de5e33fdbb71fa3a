"""The PMIC of the Raspberry Pi 5, Compute Module 5 and 500: 12 rails with volts and amperes, through the firmware.

The reply of `pmic_read_adc` is a line each: `VDD_CORE_A current(7)=0.82156000A`, `VDD_CORE_V volt(15)=0.81203820V`. The numbers in
brackets and the order do not pair them (0V8_AON is 16 and 19): their names do. EXT5V and BATT have volts only.
Steps of the ADC: 8.93 mA on VDD_CORE (7 mW), 0.98 mA on most rails, 1.34 mV on EXT5V.

What it cannot see: whatever hangs on 5 V (USB, HATs, NVMe, the fan), and the loss in the PMIC itself. The correction for the rest
that everybody uses is the fit of one board on one USB meter: https://github.com/jfikar/RPi5-power. Calibrate your own.
"""

from __future__ import annotations

import functools
import re
import time
from dataclasses import dataclass
from pathlib import Path

from alula.device.firmware import DEVICES, Ioctl, ask
from alula.device.power.access import remedy
from alula.device.power.board import identify
from alula.device.power.coefficients import Correction
from alula.device.power.kinds import Candidate, Kind, Options, Trust, no_rest, offer
from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Clock, Reading, timed
from alula.runtime.errors import MeterError

COMMAND = "pmic_read_adc"
LINE = re.compile(r"^\s*([0-9A-Z_]+)_[AV]\s+(current|volt)\(\d+\)=(\d+\.\d+)[AV]\s*$", re.MULTILINE)
INPUT, BATTERY, CORE = "EXT5V", "BATT", "VDD_CORE"
LOW_V = 4.63 * 1.05  # the detector of under-voltage is at 4.63 V, within 5 %
MIN_W, MAX_W = 0.3, 40.0  # of a board that runs, and of its supply
COVERS = "the 12 rails behind the PMIC: not USB, HATs, NVMe, the fan, nor the PMIC's own loss"
ONE_UNIT = Correction(1.1451, 0.5879, "one unit's fit to one USB meter, jfikar/RPi5-power; run: alula power calibrate")


@dataclass(frozen=True)
class Rail:
    """A rail's volts, and its amperes where they are measured."""

    voltage_v: float
    current_a: float | None = None

    @property
    def power_w(self) -> float | None:
        return None if self.current_a is None else self.voltage_v * self.current_a


def parse(reply: str) -> dict[str, Rail]:
    """Rails by name; those without volts are left out. Lines that are none of the ADC's are skipped."""
    found: dict[str, dict[str, float]] = {}
    for name, kind, value in LINE.findall(reply):
        found.setdefault(name, {})[kind] = float(value)
    return {name: Rail(rail["volt"], rail.get("current")) for name, rail in found.items() if "volt" in rail}


class Pmic:
    """The sum of volts times amperes over all rails that have both. `rails`: as they were in the last reading.

    raise : MeterError if this is no board with such a PMIC, the firmware does not answer, or this user may not ask it
    """

    name, accuracy, covers = "pmic", Accuracy.MEASURED, COVERS
    interval_s = 0.02  # the values are of the moment, the firmware takes about a millisecond

    def __init__(self, root: Path | str = "/", clock: Clock = time.monotonic_ns, ioctl: Ioctl | None = None) -> None:
        self._root, self._clock, self._ioctl = Path(root), clock, ioctl
        self.notes: tuple[str, ...] = ("pmic: values of single moments, which vary a lot: take means over many",)
        self.rails: dict[str, Rail] = {}
        self._summed: frozenset[str] = frozenset()
        self.read()

    def read(self) -> Reading:
        """The sum now. voltage_v is the board's input. raise: MeterError, also for a reply that lacks a rail"""
        t_ns, reply = timed(self._ask, self._clock)
        self.rails = rails = parse(reply)
        powers = {name: rail.power_w for name, rail in rails.items() if name not in (INPUT, BATTERY)}
        summed = {name: power for name, power in powers.items() if power is not None}
        lacking = (self._summed or {CORE}) - summed.keys()
        if lacking:
            hint = "only the Raspberry Pi 5, CM5 and 500 have such a PMIC: use another meter"
            hint = "the next reply may be whole" if self._summed else hint
            raise MeterError(f"pmic: expected volts and amperes of {sorted(lacking)[0]}, got {reply[:60]!r}; {hint}")
        power_w = sum(summed.values())
        if power_w < MIN_W:
            raise MeterError(
                f"pmic: expected a board that runs, got {power_w:.2f} W on all rails; the firmware reads zeros"
            )
        self._summed = frozenset(summed)
        return Reading(t_ns, power_w, voltage_v=self._input_v(), note=self._note())

    def close(self) -> None:
        """Nothing is held open."""

    def _ask(self) -> str:
        try:
            return ask(COMMAND, self._root, ioctl=self._ioctl)
        except FileNotFoundError as error:
            raise MeterError("pmic: expected /dev/vcio, got none; it is there on a Raspberry Pi 5, CM5 or 500, and in a "
                             "container with: --device /dev/vcio") from error  # fmt: skip
        except PermissionError as error:
            path = next(self._root / name for name in DEVICES if (self._root / name).exists())
            how = remedy(path, "video", "vcio*")
            raise MeterError(f"pmic: expected to open /dev/{path.name}, got permission denied; {how}") from error
        except OSError as error:
            raise MeterError(f"pmic: expected an answer of the firmware, got {error}; use another meter") from error

    def _input_v(self) -> float | None:
        return self.rails[INPUT].voltage_v if INPUT in self.rails else None

    def _note(self) -> str:
        volts = self._input_v()
        return f"pmic: the input sagged below {LOW_V:.2f} V: a stronger supply" if volts and volts < LOW_V else ""


def _open(rest: str, options: Options, root: Path, clock: Clock) -> Pmic:
    no_rest("pmic", rest)
    options.only()
    return Pmic(root, clock)


def _survey(root: Path, clock: Clock) -> list[Candidate]:
    board = identify(root)
    make = functools.partial(Pmic, root, clock)
    if board.is_pi and not re.search(r" (5|500)\b", board.model.partition(" Rev ")[0]):
        missing = f"the {board.model} has no sensor of current"
        return [
            Candidate("pmic", Trust.CORRECTED, None, Accuracy.CORRECTED, COVERS, missing, "fit an INA226 or INA219")
        ]
    return [offer("pmic", Trust.CORRECTED, Accuracy.CORRECTED, COVERS, make)]


KIND = Kind("pmic", "pmic", _open, _survey, correction=ONE_UNIT, limits=Limits(MIN_W, MAX_W))
