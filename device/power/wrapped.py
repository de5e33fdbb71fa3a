"""A meter around another one, which says the same of itself unless it knows better."""

from __future__ import annotations

from alula.device.power.limits import window_of
from alula.device.power.meter import Accuracy, Meter


class Wrapped:
    """`meter`, but for how it is read."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.notes: tuple[str, ...] = meter.notes

    @property
    def name(self) -> str:
        return self.meter.name

    @property
    def accuracy(self) -> Accuracy:
        return self.meter.accuracy

    @property
    def covers(self) -> str:
        return self.meter.covers

    @property
    def interval_s(self) -> float:
        return self.meter.interval_s

    @property
    def window_s(self) -> float:
        return window_of(self.meter)

    def close(self) -> None:
        self.meter.close()
