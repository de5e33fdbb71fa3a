"""A meter that replays a recorded trace: an external meter's file, a log of ours, or a made-up one for a test. Rows as in rows.py."""

from __future__ import annotations

import bisect
import time
from pathlib import Path

import numpy as np

from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Clock, Reading
from alula.device.power.rows import Rows
from alula.runtime.errors import MeterError

# Rows further apart than this many usual steps are a hole in the trace: nothing is known in between.
HOLE_STEPS = 5.0


class Replay:
    """The power at this moment of a recorded trace; its integral is exact however seldom it is read.

    path     : CSV file, or JSON lines, as in rows.py
    offset_s : where in the trace to begin, or minus the seconds until it begins
    loop     : begin again at the end, instead of being a meter that vanished
    hole_s   : rows further apart are a hole (default: 5 usual steps)
    accuracy : of whatever recorded the trace
    raise    : MeterError for a file that cannot be read, naming the line
    """

    def __init__(
        self,
        path: Path | str,
        offset_s: float = 0.0,
        loop: bool = False,
        hole_s: float | None = None,
        accuracy: Accuracy = Accuracy.MEASURED,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._loop, self._offset_s = loop, offset_s
        self._rows = _load(Path(path))  # (N, 4): t, W, V, A; t from 0 on
        self._rows[:, 0] -= self._rows[0, 0]
        usual_s = float(np.median(np.diff(self._rows[:, 0])))
        self._hole_s = HOLE_STEPS * usual_s if hole_s is None else hole_s
        self._plan(np.arange(len(self._rows)))
        self.name = f"csv:{Path(path).name}"
        self.accuracy = accuracy
        self.covers = "whatever the recording meter was connected to"
        self.interval_s = max(min(usual_s, 1.0), 1e-3)
        self.notes: tuple[str, ...] = ()
        self._start_ns = clock()
        self._start_j: float | None = None
        self._segment: tuple[int, int] | None = None

    def judge(self, limits: Limits) -> None:
        """Rows outside these watts are holes. raise: MeterError if fewer than two are left"""
        power_w = self._rows[:, 1]
        good = np.flatnonzero((power_w >= limits.min_w) & (power_w <= limits.max_w))
        lost = len(power_w) - len(good)
        most_w = float(np.abs(power_w).max())
        told = (
            f"{self.name}: expected rows of {limits.min_w:g} to {limits.max_w:g} W, got {most_w:.2f} W; "
            f"allow more: ,max={2 * most_w:.0f}"
        )
        if len(good) < 2:
            raise MeterError(told)
        if lost:
            self._plan(good)
            self.notes = (*self.notes, f"{told}; {lost} of {len(power_w)} rows are holes")

    def _plan(self, good: np.ndarray) -> None:
        """Joules up to each row that counts, and the holes between them. good : their places, int64"""
        self._t_s, self._trace = self._rows[good, 0], self._rows[good, 1:]
        steps_s, power_w = np.diff(self._t_s), self._trace[:, 0]
        holes = (steps_s > self._hole_s) | (np.diff(good) > 1)
        self._hole_starts_s, self._hole_ends_s = self._t_s[:-1][holes].tolist(), self._t_s[1:][holes].tolist()
        steps_j = np.where(holes, 0.0, 0.5 * (power_w[1:] + power_w[:-1]) * steps_s)
        self._energy_j = np.concatenate([[0.0], np.cumsum(steps_j)])

    def read(self) -> Reading:
        """raise: MeterError before the trace begins, after it ends, and in its holes"""
        t_ns = self._clock()
        at_s = (t_ns - self._start_ns) / 1e9 + self._offset_s
        begin_s, length_s = float(self._t_s[0]), float(self._t_s[-1])
        lap = 0
        if self._loop and length_s > 0:
            lap, at_s = int(at_s // length_s), at_s % length_s
        if not begin_s <= at_s <= length_s:
            when = "begins later" if at_s < begin_s else "has ended"
            raise MeterError(f"{self.name}: expected {begin_s:g} to {length_s:.3f} s, got {at_s:.3f} s; the trace {when}")
        holes_begun = bisect.bisect_left(self._hole_starts_s, at_s)
        holes_ended = bisect.bisect_right(self._hole_ends_s, at_s)
        if holes_begun > holes_ended:
            raise MeterError(f"{self.name}: expected a value at {at_s:.3f} s, got a hole in the trace")
        power_w, voltage_v, current_a = (float(np.interp(at_s, self._t_s, column)) for column in self._trace.T)
        energy_j = float(np.interp(at_s, self._t_s, self._energy_j)) + lap * float(self._energy_j[-1])
        if self._start_j is None:
            self._start_j = energy_j
        segment = (lap, holes_ended)
        # A hole between two readings: the energy in it is unknown, so the difference of the two means nothing.
        crossed = self._segment is not None and bool(self._hole_starts_s) and segment != self._segment
        self._segment = segment
        return Reading(
            t_ns,
            power_w,
            energy_j - self._start_j,
            None if np.isnan(voltage_v) else voltage_v,
            None if np.isnan(current_a) else current_a,
            restarted=crossed,
            note=f"{self.name}: a hole in the trace" if crossed else "",
        )

    def close(self) -> None:
        """Nothing is held open."""


def _load(path: Path) -> np.ndarray:
    """(N, 4) float64: seconds, watts, volts, amperes; volts and amperes are NaN where they are not recorded."""
    rows = Rows(str(path))
    table: list[tuple[float, float, float, float]] = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for line in file:
                row = rows.line(line)
                if row is None:
                    continue
                if row.t_s is None:
                    raise MeterError(f"{path}: expected a column of time (t_s), got none; add one")
                if table and row.t_s < table[-1][0]:
                    got = f"expected t >= {table[-1][0]}, got {row.t_s}"
                    raise MeterError(f"{path}:{rows.number}: {got}; sort the file")
                table.append((row.t_s, row.power_w, _or_nan(row.voltage_v), _or_nan(row.current_a)))
    except MeterError:
        raise
    except (OSError, ValueError) as error:
        raise MeterError(f"{path}: expected a CSV of power readings, got {error}; give a text file") from error
    if len(table) < 2:
        raise MeterError(f"{path}: expected at least two rows of readings, got {len(table)}; is it the right file?")
    return np.array(table, dtype=np.float64)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
