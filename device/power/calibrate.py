"""Calibrate a meter against a better one: the board idle, with one busy core, with all; a straight line through the three.

    reference_w = gain * raw_w + offset_w, by least squares

The better meter is read by the program, or by a person who says its watts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from alula.device.power.coefficients import Correction
from alula.device.power.load import Load, Sleep
from alula.device.power.meter import Meter
from alula.device.power.watching import Tell, tell_nobody, watch
from alula.runtime.errors import MeterError

SETTLE_S = 2.0  # clock, regulator and a meter's own mean follow a new load within this
FEWEST_W = 0.05  # by which the raw power must move, or no line goes through it
SURE = 3.0  # spreads of a step by which the power must move: a line through less is one through noise


@dataclass(frozen=True)
class Step:
    """One step: what was busy, and what both meters said, in watts."""

    cores: int
    raw_w: float
    spread_w: float | None
    reference_w: float


@dataclass(frozen=True)
class Fit:
    """The line through the steps. residual_w : the largest difference that it leaves"""

    steps: tuple[Step, ...]
    gain: float
    offset_w: float
    residual_w: float

    def correction(self, meter: str, board: str, serial: str, source: str) -> Correction:
        """For the file of corrections."""
        return Correction(self.gain, self.offset_w, source, meter, board, serial, self.residual_w)


def measure_steps(
    meter: Meter,
    reference: Meter | None,
    ask: Callable[[int], float],
    load: Load,
    cores: int,
    seconds: float,
    sleep: Sleep = time.sleep,
    tell: Tell = tell_nobody,
) -> list[Step]:
    """Run the steps.

    reference : the better meter, or None: `ask` then says its watts for a number of busy cores, at the end of a step
    cores     : of the machine
    seconds   : of each step
    raise     : MeterError as `watch` does
    """
    steps: list[Step] = []
    for busy in sorted({0, 1, cores}):
        load.start(busy)
        try:
            sleep(SETTLE_S)
            meters = [meter] if reference is None else [meter, reference]
            means = watch(meters, seconds, sleep=sleep, tell=tell, what="calibration")
            reference_w = ask(busy) if reference is None else means[1].power_w
        finally:
            load.stop()
        steps.append(Step(busy, means[0].power_w, means[0].spread_w, reference_w))
    return steps


def fit(steps: Sequence[Step], meter: str) -> Fit:
    """The line of least squares. raise: MeterError if the meter does not follow the load, or falls where the other rises"""
    raw_w, reference_w = (np.array([getattr(step, name) for step in steps]) for name in ("raw_w", "reference_w"))
    moved_w = float(np.ptp(raw_w))
    noise_w = max((step.spread_w or 0.0 for step in steps), default=0.0)
    if moved_w < max(FEWEST_W, SURE * noise_w):
        raise MeterError(
            f"{meter}: expected a power that follows the load, got {moved_w:.2g} W between idle and all cores "
            f"with a spread of {noise_w:.2g} W; end other work, and see: alula power check"
        )
    gain, offset_w = map(float, np.polyfit(raw_w, reference_w, 1))
    if not gain > 0:
        raise MeterError(
            f"{meter}: expected both meters to rise with the load, got {gain:.2g} W for each watt; do both see this board?"
        )
    residual_w = float(np.abs(gain * raw_w + offset_w - reference_w).max())
    return Fit(tuple(steps), gain, offset_w, residual_w)
