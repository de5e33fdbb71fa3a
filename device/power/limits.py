"""What a meter's watts may be, and how much of the time it sees: what is no reading, and what the bound of an energy follows from."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from alula.device.power.meter import Meter

# Of a board whose meter says nothing: the largest supply of a Raspberry Pi gives 27 W, those of a UAV's battery more.
BOARD_MAX_W = 60.0
# No watts, joules or seconds that somebody gives or a file holds are more: UNIX time is 2e9, and sums of figures stay finite.
MOST = 1e12


@dataclass(frozen=True)
class Limits:
    """The range of a meter, and its window.

    min_w, max_w : outside, a reading is none; and no power that is missed lies outside
    window_s     : each reading is the mean over this time before it; 0 for a sensor that sees one moment
    is_sampled   : its joules are sums over samples, and see no more than these: it is no counter
    """

    min_w: float = -math.inf
    max_w: float = math.inf
    window_s: float = 0.0
    is_sampled: bool = False

    def up_to(self, most_w: float) -> Limits:
        """The same with another max_w; where power may be negative, with another min_w as well."""
        return dataclasses.replace(self, min_w=self.min_w if self.min_w >= 0 else -most_w, max_w=most_w)

    def holds(self, power_w: float) -> bool:
        """Whether a power can be."""
        return self.min_w <= power_w <= self.max_w

    def farthest_w(self, low_w: float, high_w: float) -> float:
        """How far the true power may be outside `low_w` to `high_w`; a meter without limits has those of any board."""
        most_w = self.max_w if math.isfinite(self.max_w) else BOARD_MAX_W
        least_w = self.min_w if math.isfinite(self.min_w) else -BOARD_MAX_W
        return max(most_w - high_w, low_w - least_w, 0.0)


NO_LIMITS = Limits()


@runtime_checkable
class Limited(Protocol):
    """A meter that knows its limits."""

    @property
    def limits(self) -> Limits: ...


@runtime_checkable
class Windowed(Protocol):
    """A meter whose readings are means, and that knows of what time."""

    @property
    def window_s(self) -> float: ...


@runtime_checkable
class Judging(Protocol):
    """A meter of many samples between two reads, which it must judge itself."""

    def judge(self, limits: Limits) -> None:
        """From here on, samples outside these limits are none."""


def window_of(meter: Meter) -> float:
    """The meter's window, 0 if it says nothing."""
    return meter.window_s if isinstance(meter, Windowed) else 0.0


def limits_of(meter: Meter) -> Limits:
    """The meter's limits, with its window."""
    limits = meter.limits if isinstance(meter, Limited) else NO_LIMITS
    window_s = window_of(meter)
    return dataclasses.replace(limits, window_s=window_s) if window_s else limits
