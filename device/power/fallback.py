"""A meter with another one as a fallback, for sensors that disappear during a flight: a loose wire, an unbound driver."""

from __future__ import annotations

import dataclasses
import logging
import time

from alula.device.power.limits import Limits, limits_of
from alula.device.power.meter import Accuracy, Clock, Meter, Reading
from alula.runtime.errors import MeterError

logger = logging.getLogger(__name__)


class WithFallback:
    """Reads `primary`; after `patience` failures in a row reads `reserve`, and tries `primary` every `retry_s`.

    Name, accuracy and limits are those of the meter that gave the last reading. The interval in which the meter changes
    is marked as restarted, so the log books it as a gap.
    """

    def __init__(
        self,
        primary: Meter,
        reserve: Meter,
        patience: int = 3,
        retry_s: float = 5.0,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._primary, self._reserve, self._current = primary, reserve, primary
        self._patience, self._retry_ns, self._clock = patience, int(retry_s * 1e9), clock
        self._failures = patience - 1  # a primary that was never there earns no patience
        self._tried_ns = clock()
        self.interval_s = primary.interval_s
        self.notes = primary.notes

    @property
    def name(self) -> str:
        return self._current.name

    @property
    def accuracy(self) -> Accuracy:
        return self._current.accuracy

    @property
    def covers(self) -> str:
        return self._current.covers

    @property
    def limits(self) -> Limits:
        return limits_of(self._current)

    def read(self) -> Reading:
        """raise: MeterError while the patience lasts, and when both meters fail"""
        if self._current is self._primary:
            return self._read_primary()
        if self._clock() - self._tried_ns >= self._retry_ns:
            self._tried_ns = self._clock()
            try:
                return self._switch(self._primary, f"{self._primary.name} is back")
            except MeterError:
                pass
        return self._reserve.read()

    def close(self) -> None:
        self._primary.close()
        self._reserve.close()

    def _read_primary(self) -> Reading:
        try:
            reading = self._primary.read()
        except MeterError as error:
            self._failures += 1
            if self._failures < self._patience:
                raise
            self._tried_ns = self._clock()
            return self._switch(self._reserve, f"{error}; fell back to {self._reserve.name}")
        self._failures = 0
        return reading

    def _switch(self, meter: Meter, note: str) -> Reading:
        reading = meter.read()
        self._current, self._failures = meter, 0
        logger.warning("%s", note)
        return dataclasses.replace(reading, restarted=True, note=note)
