"""What no meter may do: give watts that cannot be, count back or in leaps, raise what nobody expects."""

from __future__ import annotations

import dataclasses
import struct

from alula.device.power.limits import Limits
from alula.device.power.meter import Meter, Reading
from alula.device.power.wrapped import Wrapped
from alula.runtime.errors import MeterError

# Counters move in steps, and two reads may be closer than one of them.
GRACE_S = 0.05


class Guarded(Wrapped):
    """`meter`, whose impossible readings are failures and whose odd ones have a note. Raises MeterError alone.

    A counter that goes back, or leaps by more than max_w allows, makes a reading `restarted`: the log books a gap.
    """

    def __init__(self, meter: Meter, limits: Limits) -> None:
        super().__init__(meter)
        self.limits = limits
        self._last: Reading | None = None

    def read(self) -> Reading:
        """raise: MeterError if the meter cannot be read now, or what it says cannot be"""
        try:
            reading = self.meter.read()
        except MeterError:
            raise
        except (OSError, ValueError, ArithmeticError, LookupError, TypeError, struct.error) as error:
            raise MeterError(f"{self.name}: expected a reading, got {type(error).__name__}: {error}") from error
        last = self._last
        if last is not None and reading.t_ns <= last.t_ns:
            return reading
        self._refuse(reading)
        self._last = reading
        if last is None:
            return reading
        leap = "" if reading.restarted else self._leap(last, reading)
        note = leap or reading.note
        return dataclasses.replace(reading, restarted=reading.restarted or bool(leap), note=note)

    def _refuse(self, reading: Reading) -> None:
        if reading.voltage_v == 0 and not reading.power_w:
            raise MeterError(f"{self.name}: expected volts, got 0 V; the sensor is dead, or its wires are off")
        if reading.power_w is None or reading.energy_j is not None:  # a counter's watts over a short time are noise
            return
        low, high = self.limits.min_w, self.limits.max_w
        if not low <= reading.power_w <= high:
            hint = f"check the shunt's value, or allow more: ,max={2 * abs(reading.power_w):.0f}"
            raise MeterError(f"{self.name}: expected {low:g} to {high:g} W, got {reading.power_w:.2f} W; {hint}")

    def _leap(self, last: Reading, reading: Reading) -> str:
        if last.energy_j is None or reading.energy_j is None:
            return ""
        used_j, most_s = reading.energy_j - last.energy_j, (reading.t_ns - last.t_ns) / 1e9 + GRACE_S
        if used_j > self.limits.max_w * most_s:
            return f"{self.name}: the counter leapt by {used_j:.3g} J in {most_s - GRACE_S:.3g} s"
        if used_j < min(self.limits.min_w * most_s, -1e-6):
            return f"{self.name}: the counter went back by {-used_j:.3g} J"
        return ""
