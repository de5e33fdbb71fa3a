"""The meter protocol: the interface between the log and every source of power figures.

A meter gives one `Reading` a call. It may know power (a shunt), energy (a hardware counter) or both; with a
counter, the log uses the difference of two readings and never power times time.
Time stamps are the middle of the read on the monotonic clock: the wall clock jumps, and a read over I2C
takes long enough to matter.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from alula.runtime.errors import MeterError

T = TypeVar("T")
Clock = Callable[[], int]


class Accuracy(enum.StrEnum):
    """How far a figure can be trusted. Figures of different classes are never added up under the better name.

    measured  : by a sensor, with constants that are known
    corrected : by a sensor that sees a part, with a fitted correction for the rest
    modelled  : from load and clock, with coefficients that somebody measured on such a board
    guessed   : as before, with coefficients that nobody measured, or by a sensor with a constant that nobody has said
    """

    MEASURED = "measured"
    CORRECTED = "corrected"
    MODELLED = "modelled"
    GUESSED = "guessed"


def worst(accuracies: Iterable[Accuracy]) -> Accuracy:
    """The class of a sum: that of its least certain part; of no parts `guessed`."""
    order = list(Accuracy)
    return max(accuracies, key=order.index, default=Accuracy.GUESSED)


@dataclass(frozen=True)
class Reading:
    """What a meter said at one moment.

    t_ns      : monotonic, the middle of the read
    power_w   : power at that moment, or None if the meter only counts energy
    energy_j  : energy since the meter was opened, wrap-around removed, or None if there is no counter
    restarted : the counter restarted, so the difference to the reading before means nothing
    raw_w     : what the meter said where power_w is corrected, else None
    note      : one line for the log, when something about this reading should be known
    raise     : MeterError if there is neither power nor energy, or a figure is not finite
    """

    t_ns: int
    power_w: float | None = None
    energy_j: float | None = None
    voltage_v: float | None = None
    current_a: float | None = None
    restarted: bool = False
    note: str = ""
    raw_w: float | None = None

    def __post_init__(self) -> None:
        if self.power_w is None and self.energy_j is None:
            raise MeterError("reading: expected power or energy, got neither; the meter gave nothing usable")
        for name in ("power_w", "energy_j"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise MeterError(f"reading: expected a finite {name}, got {value}; the meter's output is damaged")


@runtime_checkable
class Meter(Protocol):
    """A source of readings.

    name       : which source, for the log: `rapl`, `hwmon:ina219@1-0040`, `model:Raspberry Pi 4`
    accuracy   : see Accuracy; it may change where a meter has another in reserve
    covers     : what the watts are watts of, in words
    interval_s : reading more often than this gives the same value again
    notes      : what a reader of the figures should know, one line each
    """

    notes: tuple[str, ...]

    @property
    def name(self) -> str: ...
    @property
    def accuracy(self) -> Accuracy: ...
    @property
    def covers(self) -> str: ...
    @property
    def interval_s(self) -> float: ...

    def read(self) -> Reading:
        """Read once. raise: MeterError if the meter cannot be read now; a later call may succeed."""
        ...

    def close(self) -> None:
        """Give back what the meter holds. Closing twice is allowed."""
        ...


def timed(read: Callable[[], T], clock: Clock = time.monotonic_ns) -> tuple[int, T]:
    """Call `read`; return the middle of the call in monotonic ns, and what it returned."""
    before_ns = clock()
    value = read()
    return (before_ns + clock()) // 2, value
