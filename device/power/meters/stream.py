"""USB and bench meters: what their logger writes, read while it grows (`csv:FILE`, a pipe, `csv:-`), or replayed (`,replay=0`).

Rows are as in rows.py. Joules are summed over all rows, however seldom the log looks. A row's time is that of the meter's own clock,
tied to ours at the first row; `clock=SECONDS` is added to it. UNIX time is taken as it is, if it fits our clock within 2 s.
Rows without a time have that of their arrival.
"""

from __future__ import annotations

import codecs
import dataclasses
import errno
import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path

from alula.device.power.kinds import Candidate, Kind, Options, Trust
from alula.device.power.limits import NO_LIMITS, Limits
from alula.device.power.meter import Accuracy, Clock, Meter, Reading
from alula.device.power.meters.recording import Replay
from alula.device.power.rows import MAX_LINE, Row, Rows
from alula.device.power.shunt import LIMITS
from alula.runtime.errors import MeterError

COVERS = "whatever the meter is connected to"
UNIX_S = 1e9
CLOCKS_FIT_S = 2.0
WAIT_S = 5.0  # for two rows: the log reads as often as they come
HOLE_S, HOLE_STEPS = 3.0, 5.0  # rows further apart than this, and than five usual steps, are a hole
STALE_S = 3.0  # without a row for this, and for the steps of a hole, there is no reading
CHUNK, CHUNKS = 1 << 16, 2


class Tail:
    """New lines of a growing file, a pipe or standard input ('-'), without ever waiting for them."""

    def __init__(self, path: str) -> None:
        self._text, self._decoder, self.ended = "", codecs.getincrementaldecoder("utf-8")("replace"), False
        self._is_file = False
        if path == "-":
            self._handle = os.dup(0)
        else:
            self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that nobody writes to yet opens as well
            mode = os.fstat(self._handle).st_mode
            if stat.S_ISDIR(mode):
                self.close()
                raise IsADirectoryError(errno.EISDIR, "a folder")
            self._is_file = stat.S_ISREG(mode)
        self._stops = path == "-"

    def lines(self) -> list[str]:
        """Whole lines that have come since the last call. raise: OSError"""
        if self._is_file and os.fstat(self._handle).st_size < os.lseek(self._handle, 0, os.SEEK_CUR):
            os.lseek(self._handle, 0, os.SEEK_SET)  # cut short: written anew
        for _ in range(CHUNKS):  # the rest of a source that never ends waits for the next call
            if not select.select([self._handle], [], [], 0)[0]:
                break
            try:
                chunk = os.read(self._handle, CHUNK)
            except BlockingIOError:
                break
            if not chunk:
                self.ended = self._stops
                break
            self._text += self._decoder.decode(chunk)
        *whole, self._text = self._text.split("\n")
        self._text = self._text[-MAX_LINE:]
        return whole

    def skip(self) -> list[str]:
        """To the end of a file; its first lines, which hold the header. Nothing of a pipe is skipped."""
        if not self._is_file:
            return []
        first = self._decoder.decode(os.read(self._handle, CHUNK)).split("\n")[:-1]
        start = max(os.fstat(self._handle).st_size - MAX_LINE, 0)
        os.lseek(self._handle, start, os.SEEK_SET)
        self.lines()  # what follows the last line's end is the beginning of a row
        return first

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


class Stream:
    """The last row that has come, and joules since the first.

    path    : a file that grows, from its end on (its header is read), a named pipe, or '-'
    clock_s : added to the meter's time stamps
    raise   : MeterError if it cannot be read, or no row comes for a while
    """

    accuracy, covers = Accuracy.MEASURED, COVERS

    def __init__(
        self,
        path: str,
        clock_s: float = 0.0,
        clock: Clock = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = "csv:-" if path == "-" else f"csv:{Path(path).name}"
        self.notes: tuple[str, ...] = ()
        self._clock, self._wall, self._clock_ns = clock, wall, round(clock_s * 1e9)
        self._rows, self._problem = Rows(path), ""
        try:
            self._tail = Tail(path)
            header = self._tail.skip()
        except (OSError, ValueError) as error:
            got = getattr(error, "strerror", None) or error
            raise MeterError(
                f"{path}: expected a file that a meter's logger writes, got {got}; start it first"
            ) from error
        self._shift_ns: int | None = None  # from the meter's clock to ours
        self._last: Reading | None = None
        self._came_ns = self._polled_ns = clock()
        self._step_ns, self._energy_j, self._n_rows = 0.0, 0.0, 0
        self._note, self._restarted = "", False
        self._limits, self._is_outside = NO_LIMITS, False  # whether rows since the last one that counts were outside
        try:
            self._learn(header)
            opened_ns = clock()
            while self._n_rows < 2 and clock() - opened_ns < WAIT_S * 1e9 and not self._tail.ended:
                self._take_lines(self._tail.lines())
                if self._n_rows < 2:
                    sleep(0.05)
            if self._n_rows == 1:
                self._step_ns = WAIT_S * 1e9
            self.read()
        except BaseException:
            self._tail.close()
            raise

    @property
    def interval_s(self) -> float:
        """From row to row, at least 10 ms."""
        return max(self._step_ns / 1e9, 0.01)

    def read(self) -> Reading:
        """The newest row, also if it was read before. raise: MeterError if there was none for a while, or the stream has ended"""
        try:
            lines = self._tail.lines()
        except OSError as error:
            raise MeterError(f"{self.name}: expected rows, got {error}; is the meter's logger running?") from error
        self._take_lines(lines)
        now_ns = self._clock()
        if self._tail.ended and not lines:
            raise MeterError(f"{self.name}: expected rows, got the end of the stream; is the meter's logger running?")
        if self._last is None or now_ns - self._came_ns > max(STALE_S * 1e9, HOLE_STEPS * self._step_ns):
            waited_s = (now_ns - self._came_ns) / 1e9
            why = self._problem or "is the meter's logger running? A recording needs ,replay=0"
            raise MeterError(f"{self.name}: expected a row, got none for {waited_s:.1f} s; {why}")
        last, restarted, note = self._last, self._restarted, self._note
        self._restarted, self._note = False, ""
        return Reading(
            last.t_ns, last.power_w, self._energy_j, last.voltage_v, last.current_a, restarted=restarted, note=note
        )

    def judge(self, limits: Limits) -> None:
        """Rows outside these watts are none from here on; what was read before begins anew."""
        self._limits = limits
        if self._last is not None and not limits.holds(self._last.power_w or 0.0):
            self._refuse(self._last.power_w or 0.0)
            self._last = None
        self._energy_j = 0.0

    def close(self) -> None:
        self._tail.close()

    def _refuse(self, power_w: float) -> None:
        low, high = self._limits.min_w, self._limits.max_w
        self._problem = self._note = (
            f"{self.name}: expected rows of {low:g} to {high:g} W, got {power_w:.2f} W; allow more: ,max={2 * abs(power_w):.0f}"
        )
        self._is_outside = True

    def _learn(self, lines: list[str]) -> None:
        """Find the header; what stands below it is not of our time."""
        for line in lines:
            try:
                if self._rows.line(line) is not None:
                    return
            except MeterError as error:
                self._problem = str(error)

    def _take_lines(self, lines: list[str]) -> None:
        now_ns, before_ns = self._clock(), self._polled_ns
        self._polled_ns = now_ns
        for index, line in enumerate(lines, 1):
            try:
                row = self._rows.line(line)
            except MeterError as error:  # a line that the wire garbled
                self._problem = self._note = str(error)
                continue
            if row is not None and not self._limits.holds(row.power_w):
                self._refuse(row.power_w)
            elif row is not None:
                self._came_ns = now_ns
                arrival_ns = before_ns + (now_ns - before_ns) * index // len(lines) if row.t_s is None else now_ns
                self._take(row, arrival_ns)

    def _take(self, row: Row, arrival_ns: int) -> None:
        t_ns = arrival_ns if row.t_s is None else self._ours(row.t_s, arrival_ns)
        reading = Reading(t_ns, row.power_w, None, row.voltage_v, row.current_a)
        last, self._last = self._last, reading
        self._n_rows += 1
        if last is None:
            return
        if self._is_outside:
            self._is_outside = False
            self._break(self._problem)
            return
        step_ns, ahead_ns = t_ns - last.t_ns, t_ns - self._clock_ns - arrival_ns
        if step_ns < 0 or ahead_ns > CLOCKS_FIT_S * 1e9:
            self._shift_ns = None
            back = (
                f"went back by {-step_ns / 1e9:.1f} s" if step_ns < 0 else f"runs {ahead_ns / 1e9:.1f} s ahead of ours"
            )
            self._break(f"{self.name}: the meter's clock {back}")
            if row.t_s is not None:
                self._last = Reading(self._ours(row.t_s, arrival_ns), row.power_w, None, row.voltage_v, row.current_a)
            return
        if step_ns > max(HOLE_S * 1e9, HOLE_STEPS * self._step_ns):
            self._break(f"{self.name}: a hole of {step_ns / 1e9:.1f} s between two rows")
            return
        self._step_ns += (step_ns - self._step_ns) / 8 if self._step_ns else step_ns
        assert last.power_w is not None
        self._energy_j += (last.power_w + row.power_w) / 2 * step_ns / 1e9

    def _break(self, note: str) -> None:
        self._restarted, self._note = True, note

    def _ours(self, t_s: float, arrival_ns: int) -> int:
        """A time of the meter's clock in ns of ours."""
        theirs_ns = round(t_s * 1e9) + self._clock_ns
        if self._shift_ns is None:
            self._shift_ns = arrival_ns - round(t_s * 1e9)
            if t_s > UNIX_S:
                exact_ns = self._clock() - self._wall()
                if abs(theirs_ns + exact_ns - arrival_ns) <= CLOCKS_FIT_S * 1e9:
                    self._shift_ns = exact_ns
                else:
                    off_s = (theirs_ns + exact_ns - arrival_ns) / 1e9
                    self._note = f"{self.name}: the meter's clock is {off_s:+.1f} s off ours: rows count as they came"
        return theirs_ns + self._shift_ns


def _open(rest: str, options: Options, root: Path, clock: Clock) -> Meter:
    if not rest:
        raise MeterError("power meter: expected csv:FILE or csv:-, got 'csv'; name the file")
    options.only("replay", "clock")
    clock_s, start_s = options.number("clock", 0.0) or 0.0, options.number("replay")
    if start_s is None:
        return Stream(rest, clock_s, clock)
    return Replay(rest, start_s - clock_s, clock=clock)


def _survey(root: Path, clock: Clock) -> list[Candidate]:
    missing, remedy = "a file or a pipe that a USB or bench meter's logger writes", "start the logger and name its file"
    return [Candidate("csv:FILE", Trust.ASKED, None, Accuracy.MEASURED, COVERS, missing, remedy)]


KIND = Kind("csv", "csv:FILE|-", _open, _survey, limits=dataclasses.replace(LIMITS, is_sampled=True))
