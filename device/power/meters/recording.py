"""A meter that replays a recorded trace: an external meter's CSV, a log of ours, or a made-up one for a test.

Columns, by header: time (`t_s`, `t`, `time`, `timestamp`: seconds from any origin), and power (`power_w`, `w`,
`power`) or voltage and current (`voltage_v`, `v`, `voltage`; `current_a`, `a`, `current`). Without a header:
two columns are time and watts, three are time, volts and amperes. Lines that begin with # are skipped, and so
are rows without a value: our own log writes failed readings like that.
"""

from __future__ import annotations

import bisect
import csv
import time
from pathlib import Path

import numpy as np

from alula.device.power.kinds import Candidate, Kind, Options, Trust
from alula.device.power.meter import Accuracy, Clock, Reading
from alula.runtime.errors import MeterError

TIME_NAMES = ("t_s", "t", "time", "time_s", "timestamp", "seconds")
POWER_NAMES = ("power_w", "w", "power", "watt", "watts", "p")
VOLT_NAMES = ("voltage_v", "v", "voltage", "volt", "volts")
CURRENT_NAMES = ("current_a", "a", "current", "ampere", "amperes", "i")
# Rows further apart than this many usual steps are a hole in the trace: nothing is known in between.
HOLE_STEPS = 5.0


class Replay:
    """The power at this moment of a recorded trace; its integral is exact however seldom it is read.

    path     : CSV file, format in the module's docstring
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
        trace = _load(Path(path))  # (N, 4): t, W, V, A
        self._t_s = trace[:, 0] - trace[0, 0]
        self._trace = trace[:, 1:]
        steps_s = np.diff(self._t_s)
        usual_s = float(np.median(steps_s))
        holes = steps_s > (HOLE_STEPS * usual_s if hole_s is None else hole_s)
        self._hole_starts_s = self._t_s[:-1][holes].tolist()
        self._hole_ends_s = self._t_s[1:][holes].tolist()
        power_w = trace[:, 1]
        steps_j = np.where(holes, 0.0, 0.5 * (power_w[1:] + power_w[:-1]) * steps_s)
        self._energy_j = np.concatenate([[0.0], np.cumsum(steps_j)])
        self.name = f"csv:{Path(path).name}"
        self.accuracy = accuracy
        self.covers = "whatever the recording meter was connected to"
        self.interval_s = max(min(usual_s, 1.0), 1e-3)
        self.notes: tuple[str, ...] = ()
        self._start_ns = clock()
        self._start_j: float | None = None
        self._segment: tuple[int, int] | None = None

    def read(self) -> Reading:
        """raise: MeterError before the trace begins, after it ends, and in its holes"""
        t_ns = self._clock()
        at_s = (t_ns - self._start_ns) / 1e9 + self._offset_s
        length_s = float(self._t_s[-1])
        lap = 0
        if self._loop and length_s > 0:
            lap, at_s = int(at_s // length_s), at_s % length_s
        if not 0 <= at_s <= length_s:
            when = "begins later" if at_s < 0 else "has ended"
            raise MeterError(f"{self.name}: expected 0 to {length_s:.3f} s, got {at_s:.3f} s; the trace {when}")
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
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [
                (number, [cell.strip() for cell in row])
                for number, row in enumerate(csv.reader(file), 1)
                if row and not row[0].startswith("#")
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MeterError(f"{path}: expected a CSV of power readings, got {error}; give a text file") from error
    columns = _columns(path, rows[0][1]) if rows else {}
    if rows and not _is_number(rows[0][1][0]):
        rows = rows[1:]
    table: list[tuple[float, ...]] = []
    for number, row in rows:
        values = _values(path, number, row, columns)
        if values is None:
            continue
        if table and values[0] < table[-1][0]:
            raise MeterError(f"{path}:{number}: expected t >= {table[-1][0]}, got {values[0]}; sort the file")
        table.append(values)
    if len(table) < 2:
        raise MeterError(f"{path}: expected at least two rows of readings, got {len(table)}; is it the right file?")
    return np.array(table, dtype=np.float64)


def _columns(path: Path, first: list[str]) -> dict[str, int]:
    """Which column holds what: by the header's names, or by their number where there is no header."""
    if _is_number(first[0]):
        if len(first) not in (2, 3):
            raise MeterError(f"{path}: expected 2 columns (t, W) or 3 (t, V, A), got {len(first)}; add a header line")
        return {"t": 0, "w": 1} if len(first) == 2 else {"t": 0, "v": 1, "a": 2}
    names = [name.lower() for name in first]
    columns = {}
    for key, wanted in (("t", TIME_NAMES), ("w", POWER_NAMES), ("v", VOLT_NAMES), ("a", CURRENT_NAMES)):
        found = [names.index(name) for name in wanted if name in names]
        if found:
            columns[key] = found[0]
    if "t" not in columns or not ("w" in columns or {"v", "a"} <= columns.keys()):
        got = ", ".join(first)[:80]
        raise MeterError(f"{path}: expected columns t_s and power_w, or t_s, voltage_v and current_a, got {got}")
    return columns


def _values(path: Path, number: int, row: list[str], columns: dict[str, int]) -> tuple[float, ...] | None:
    """Seconds, watts, volts, amperes of one row; None for a row that says that there was no reading."""
    cells = {key: row[index] if index < len(row) else "" for key, index in columns.items()}
    needed = ("t", "w") if "w" in columns else ("t", "v", "a")
    if any(not cells[key] for key in needed):
        return None
    try:
        value = {key: float(cell) if cell else float("nan") for key, cell in cells.items()}
    except ValueError as error:
        text = ",".join(row)[:60]
        raise MeterError(f"{path}:{number}: expected numbers, got {text!r}; fix or remove the line") from error
    volt, current = value.get("v", float("nan")), value.get("a", float("nan"))
    power = value["w"] if "w" in value else volt * current
    if not (np.isfinite(power) and np.isfinite(value["t"])):
        text = ",".join(row)[:60]
        raise MeterError(f"{path}:{number}: expected finite numbers, got {text!r}; fix or remove the line")
    return value["t"], power, volt, current


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _open(rest: str, options: Options, root: Path, clock: Clock) -> Replay:
    options.only("replay")
    if not rest:
        raise MeterError("power meter: expected csv:FILE, got 'csv'; name the file")
    return Replay(rest, options.number("replay", 0.0) or 0.0, clock=clock)


def _survey(root: Path, clock: Clock) -> list[Candidate]:
    missing, remedy = "a file or a pipe that a USB or bench meter writes to", "start its logger and name its file"
    covers = "whatever the meter is connected to"
    return [Candidate("csv:FILE", Trust.ASKED, None, Accuracy.MEASURED, covers, missing, remedy)]


KIND = Kind("csv", "csv:FILE|-", _open, _survey)
