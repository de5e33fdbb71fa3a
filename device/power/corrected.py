"""A meter with a correction: its watts and joules times a gain, plus an offset. `raw_w` of a reading is what the meter said."""

from __future__ import annotations

import dataclasses

from alula.device.power.coefficients import Correction
from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Meter, Reading
from alula.device.power.wrapped import Wrapped


class Corrected(Wrapped):
    """`meter` through `correction`. Its name stays the same; joules of a counter get offset_w for all seconds since the first.

    accuracy : of the corrected figures
    """

    def __init__(self, meter: Meter, correction: Correction, accuracy: Accuracy = Accuracy.CORRECTED) -> None:
        super().__init__(meter)
        self.correction, self._accuracy = correction, accuracy
        residual = "" if correction.residual_w is None else f", within {correction.residual_w:.2g} W"
        line = f"{correction.gain:g} x raw {correction.offset_w:+g} W ({correction.source}{residual})"
        self.notes = (*meter.notes, f"{meter.name}: corrected: {line}")
        self._start_ns: int | None = None

    @property
    def accuracy(self) -> Accuracy:
        return self._accuracy

    def raw(self, limits: Limits) -> Limits:
        """What the meter's own watts may be, for corrected ones within limits."""
        low_w, high_w = ((w - self.correction.offset_w) / self.correction.gain for w in (limits.min_w, limits.max_w))
        return dataclasses.replace(limits, min_w=low_w, max_w=high_w)

    def read(self) -> Reading:
        """raise: MeterError as the meter does"""
        raw = self.meter.read()
        gain, offset_w = self.correction.gain, self.correction.offset_w
        if self._start_ns is None:
            self._start_ns = raw.t_ns
        seconds = (raw.t_ns - self._start_ns) / 1e9
        return dataclasses.replace(
            raw,
            power_w=None if raw.power_w is None else gain * raw.power_w + offset_w,
            energy_j=None if raw.energy_j is None else gain * raw.energy_j + offset_w * seconds,
            raw_w=raw.power_w,
        )
