"""The fallback: power modelled from processor load. No sensor is used, and no figure is `measured`.

The model is a straight line over load, so its integral needs only the processor seconds used so far, and the log treats it as a counter.
On a board of the table the part that grows with load is scaled by the clock, at each reading: dynamic power of CMOS goes with
f V^2, V is not known, so it goes with f here. That is too much below the stock clock, and too little above.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from alula.device.power.board import identify
from alula.device.power.kinds import Candidate, Kind, Options, Trust, offer
from alula.device.power.meter import Accuracy, Clock, Reading, timed
from alula.device.power.meters.boards import Board, find_board, named_board
from alula.device.power.meters.speed import Speed
from alula.device.power.processor_time import ProcessorTime
from alula.runtime.errors import MeterError

# For machines that no table knows: a guess between a mini PC and a server, per logical processor.
GUESS_IDLE_W, GUESS_W_PER_CPU = 5.0, 4.0
MAX_CLOCK_RATIO = 1.5  # nobody runs faster
TICK_S = 0.01  # the kernel counts each processor's time in steps of this
ASK_NS = 5_000_000_000


class Utilisation:
    """A linear model of the whole board's power over processor load.

    idle_w, max_w : at load 0 and 1; both or neither. Without them the board's line from the table is taken,
                    and on a machine that is not in the table a guess, which the notes say
    board         : whose line to take, as in boards.py; '' for the board that this is
    root          : the folder that holds sys/, proc/ and dev/
    busy_s        : processor seconds used so far by all processors together (default: ProcessorTime)
    raise         : MeterError if idle_w and max_w do not fit each other, or there is no such board
    """

    covers = "whole board, modelled from processor load"
    interval_s = 0.05  # the kernel counts load in steps of 10 ms

    def __init__(
        self,
        idle_w: float | None = None,
        max_w: float | None = None,
        board: str = "",
        root: Path | str = "/",
        busy_s: Callable[[], float] | None = None,
        n_cpu: int | None = None,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._busy_s = ProcessorTime() if busy_s is None else busy_s
        self._n_cpu = n_cpu or psutil.cpu_count() or 1
        self.board = _line(idle_w, max_w, board, identify(root).model, self._n_cpu)
        self.accuracy = self.board.accuracy
        self.name = f"model:{self.board.model}"
        self.notes: tuple[str, ...] = (f"power is modelled, not measured: {self.board.source}",)
        own_board = not board and self.board.clock_mhz > 0  # of another board the clock is not known
        self._speed = Speed(Path(root)) if own_board else None
        if self._speed is not None and self._speed.source != "the firmware":
            self.notes += (f"{self.name}: {_blindness(self._speed.source)}",)
        self._start_ns, self._last_busy_s = timed(self._busy_s, clock)
        self._last_ns = self._asked_ns = self._start_ns
        self._energy_j = 0.0
        self._last_power_w = self.board.idle_w

    def read(self) -> Reading:
        """Modelled energy since the meter was opened, and the mean power since the last reading."""
        t_ns, busy_s = timed(self._busy_s, self._clock)
        # The kernel's counts may step back by a tick: joules must not.
        dt_s = (t_ns - self._last_ns) / 1e9
        # Over a short interval the steps may show more than full load: what is too much belongs to the next one.
        used_s = min(max(busy_s - self._last_busy_s, 0.0), dt_s * self._n_cpu)
        slope_w = self.board.slope_w * self._clock_ratio()
        step_j = self.board.idle_w * dt_s + slope_w * used_s / self._n_cpu
        self._energy_j += step_j
        if dt_s > 0:
            self._last_power_w = step_j / dt_s
        self._last_ns = t_ns
        self._last_busy_s = max(self._last_busy_s + used_s, busy_s - TICK_S * self._n_cpu)
        return Reading(t_ns, power_w=self._last_power_w, energy_j=self._energy_j, note=self._note(t_ns))

    def close(self) -> None:
        """Give back the file of processor time."""
        if isinstance(self._busy_s, ProcessorTime):
            self._busy_s.close()

    def _clock_ratio(self) -> float:
        """The clock now, over the stock clock."""
        mhz = None if self._speed is None else self._speed.mhz()
        return 1.0 if mhz is None else min(mhz / self.board.clock_mhz, MAX_CLOCK_RATIO)

    def _note(self, t_ns: int) -> str:
        """Now and then, whether the firmware holds the clock down."""
        if self._speed is None or t_ns - self._asked_ns < ASK_NS:
            return ""
        self._asked_ns = t_ns
        limits = self._speed.limits()
        return f"{self.name}: the firmware holds the clock down: {', '.join(limits)}" if limits else ""


def _blindness(source: str) -> str:
    if not source:
        return "the clock is not known: taken as the stock clock"
    return "the clock is the kernel's, which does not see the firmware throttle: join the group video"


def _line(idle_w: float | None, max_w: float | None, board_name: str, name: str, n_cpu: int) -> Board:
    if idle_w is not None and max_w is not None:
        if not 0 <= idle_w <= max_w < float("inf"):
            raise MeterError(f"utilisation model: expected 0 <= idle <= full, got {idle_w} and {max_w}; give watts")
        source = f"{idle_w:g} W at rest and {max_w:g} W at full load, as given"
        return Board("given", "", 0, idle_w, max_w - idle_w, source)
    if idle_w is not None or max_w is not None:
        got = f"{idle_w} and {max_w}"
        raise MeterError(f"utilisation model: expected both idle and full, got {got}; give both or neither")
    if board_name:
        return named_board(board_name)
    board = find_board(name)
    if board is not None:
        return board
    what = f"a line for '{name}'" if name else "a line for this machine"
    source = (
        f"nobody has measured {what}; {GUESS_IDLE_W:g} W + {GUESS_W_PER_CPU:g} W per busy processor is a guess, "
        f"give watts for a better one: model,idle=2.3,full=6.8"
    )
    return Board("guess", "", 0, GUESS_IDLE_W, GUESS_W_PER_CPU * n_cpu, source, Accuracy.GUESSED)


def _open(rest: str, options: Options, root: Path, clock: Clock) -> Utilisation:
    options.only("idle", "full")
    idle_w, max_w = options.number("idle", above=-1), options.number("full", above=0)
    return Utilisation(idle_w, max_w, rest, root, clock=clock)


def _survey(root: Path, clock: Clock) -> list[Candidate]:
    make = functools.partial(Utilisation, root=root, clock=clock)
    return [offer("model", Trust.MODEL, Accuracy.GUESSED, Utilisation.covers, make)]


KIND = Kind("model", "model[:BOARD]", _open, _survey, calibrated=Accuracy.MODELLED)
