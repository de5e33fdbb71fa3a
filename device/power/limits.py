"""What a meter can show at most, and how much of the time it sees: what the bound of an energy follows from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from alula.device.power.meter import Meter

# Of a board whose meter says nothing: the largest supply of a Raspberry Pi gives 27 W, those of a UAV's battery more.
BOARD_MAX_W = 60.0


@dataclass(frozen=True)
class Limits:
    """The range of a meter, and its window.

    min_w, max_w : a reading outside is no power but a fault, and no power that is missed lies outside. A battery that is
                   charged has negative power
    window_s     : each reading is the mean over this time before it; 0 for a sensor that sees one moment
    """

    min_w: float = -BOARD_MAX_W
    max_w: float = BOARD_MAX_W
    window_s: float = 0.0

    def holds(self, power_w: float) -> bool:
        """Whether a power is within the range."""
        return self.min_w <= power_w <= self.max_w

    def farthest_w(self, power_w: float) -> float:
        """How far the true power may be from `power_w`."""
        return max(self.max_w - power_w, power_w - self.min_w, 0.0)


@runtime_checkable
class Limited(Protocol):
    """A meter that knows its limits."""

    @property
    def limits(self) -> Limits: ...


def limits_of(meter: Meter) -> Limits:
    """The meter's own limits, or those of any board."""
    return meter.limits if isinstance(meter, Limited) else Limits()
