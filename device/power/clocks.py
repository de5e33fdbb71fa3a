"""Whether the board slept, or its wall clock was set, between two looks at three clocks.

The monotonic clock stands still during a suspend, CLOCK_BOOTTIME does not: their difference grows by the time asleep. The wall
clock against CLOCK_BOOTTIME moves by the steps of NTP, GPS or `date`; a clock that is slewed (500 ppm at most) stays below STEP_S.
Source: clock_gettime(2), adjtimex(2). Systems without CLOCK_BOOTTIME notice steps of the clock alone.
"""

from __future__ import annotations

import time

from alula.device.power.meter import Clock

STEP_S = 0.05  # less is no step: the clocks are read one after the other
LOOK_S = 0.01  # a look that took longer was interrupted, and says nothing


def _boot_ns() -> int:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)


class ClockWatch:
    """Remembers how far the clocks are apart. All three are in nanoseconds, from any origin."""

    def __init__(
        self, monotonic: Clock = time.monotonic_ns, boot: Clock = _boot_ns, wall: Clock = time.time_ns
    ) -> None:
        self._monotonic, self._boot, self._wall = monotonic, boot, wall
        self._asleep_ns, self._set_ns = self._apart() or (boot() - monotonic(), wall() - boot())

    def look(self) -> tuple[float, float]:
        """Seconds asleep since the last look, and seconds by which the wall clock was set (negative: back); 0 for none."""
        apart = self._apart()
        if apart is None:
            return 0.0, 0.0
        asleep_s, set_s = (apart[0] - self._asleep_ns) / 1e9, (apart[1] - self._set_ns) / 1e9
        self._asleep_ns, self._set_ns = apart  # slewing adds up only between two looks
        return asleep_s if asleep_s > STEP_S else 0.0, set_s if abs(set_s) > STEP_S else 0.0

    def _apart(self) -> tuple[int, int] | None:
        """Boot time minus monotonic, wall minus boot time; None if the look was interrupted."""
        before, boot, wall, after = self._monotonic(), self._boot(), self._wall(), self._monotonic()
        if after - before > LOOK_S * 1e9:
            return None
        return boot - (before + after) // 2, wall - boot
