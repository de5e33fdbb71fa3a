"""What happened to a log, with its instants: gaps, sleep, steps of the clock, a sensor that froze or changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

KEPT = 200  # of a kind: a loose wire on a long flight must not fill the memory

GAP = "gap"  # no readings for too long, or two that do not belong together
SUSPEND = "suspend"  # the board slept; seconds : of sleep, which the log's own time does not count
CLOCK_STEP = "clock step"  # the wall clock was set; seconds : forward, or back if negative
FROZEN = "frozen"  # the sensor gave the same figures; seconds : until that was noticed, from then on it is a gap
IMPLAUSIBLE = "implausible"  # the first of some figures outside the meter's range, which were not booked


@dataclass(frozen=True)
class Event:
    """Something that happened. t_ns : monotonic, where it began; note : more about it"""

    t_ns: int
    kind: str
    seconds: float
    note: str = ""


class Events:
    """The first KEPT events of each kind, and how many there were."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}

    def add(self, event: Event) -> None:
        """Book an event."""
        self.counts[event.kind] += 1
        self.seconds[event.kind] = self.seconds.get(event.kind, 0.0) + event.seconds
        if self.counts[event.kind] <= KEPT:
            self.kept.append(event)

    def figures(self, start_ns: int) -> dict[str, Any]:
        """For the summary: how many of each kind, how long together, and each one with its instant from the log's beginning."""
        return {
            "counts": {kind: {"count": count, "seconds": self.seconds[kind]} for kind, count in self.counts.items()},
            "events": [
                {"t_s": (event.t_ns - start_ns) / 1e9, "kind": event.kind, "seconds": event.seconds, "note": event.note}
                for event in self.kept
            ],
        }
