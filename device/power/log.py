"""The energy log: a thread samples a meter while the program reports what it is doing.

    with EnergyLog(select_meter(), "power.csv", "energy.json") as log:
        for frame in camera:
            with log.phase("detect"):
                boxes = detect(frame)
            log.count("frames")
    print(log.summary()["counters"]["frames"]["each_j"])

A phase boundary does not touch the meter (a read over I2C would cost more than a short phase): it records the time,
in about 2 microseconds. The ledger interpolates power at the boundary once the readings on both sides of it are there.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from alula.device.power.fallback import WithFallback
from alula.device.power.idle import IdleBaseline, measure_idle
from alula.device.power.ledger import OTHER, Ledger
from alula.device.power.meter import Accuracy, Clock, Meter, worst
from alula.device.power.report import energy_figures, sources_figures, write_prometheus, write_summary
from alula.device.power.samples import SampleCsv
from alula.runtime.errors import MeterError

logger = logging.getLogger(__name__)

PHASE_NAME = re.compile(r"[\w.:\-]+( [\w.:\-]+)*")
MAX_NOTES = 50
# Readings this many periods apart leave a gap; never less than GAP_LEAST_S, which a busy scheduler may take.
GAP_PERIODS, GAP_MIN_S = 5.0, 0.5
STUCK_S = 2.0


class _Phase(contextlib.ContextDecorator):
    """`with log.phase("detect"):` or `@log.phase("detect")`; may be entered again, also inside itself."""

    def __init__(self, log: EnergyLog, name: str) -> None:
        self._log, self._name = log, name

    def __enter__(self) -> None:
        self._log._enter_phase(self._name)

    def __exit__(self, *_: object) -> None:
        self._log._leave_phase(self._name)


class EnergyLog:
    """Energy by phase, sampled in the background, written to a CSV (samples) and a JSON file (summary).

    meter           : the caller closes it
    rate_hz         : samples a second, at most what the meter gives; 0 for no thread (call `sample` yourself)
    fallback        : read while `meter` fails; the figures then say so
    idle_w, idle_s  : power at rest, for net figures: given, or measured for idle_s seconds before the log begins
    save_every_s    : the summary is also saved while the log runs, for the sake of power cuts
    prometheus_path : a *.prom file for node_exporter's textfile collector, written with the summary
    gap_after_s     : readings further apart leave a gap (default: 5 periods, at least 0.5 s)
    raise           : MeterError on entry if the meter cannot be read, OSError if the CSV cannot be made.
                      Once it runs, a meter that fails or a full disk is said (logging, `notes`) and survived
    """

    def __init__(
        self,
        meter: Meter,
        csv_path: Path | str | None = None,
        summary_path: Path | str | None = None,
        *,
        rate_hz: float = 10.0,
        fallback: Meter | None = None,
        idle_w: float | None = None,
        idle_s: float = 0.0,
        save_every_s: float = 60.0,
        prometheus_path: Path | str | None = None,
        gap_after_s: float | None = None,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        if not 0 <= rate_hz <= 1000:
            raise MeterError(f"energy log: expected rate_hz from 0 to 1000, got {rate_hz}; 10 is plenty for a battery")
        self.meter: Meter = meter if fallback is None else WithFallback(meter, fallback, clock=clock)
        self.period_s = max(1.0 / rate_hz, meter.interval_s) if rate_hz else 0.0
        self._gap_after_s = max(GAP_PERIODS * self.period_s, GAP_MIN_S) if gap_after_s is None else gap_after_s
        self._csv_path, self._summary_path, self._prometheus_path = (
            None if path is None else Path(path) for path in (csv_path, summary_path, prometheus_path)
        )
        self._clock, self._save_every_s = clock, save_every_s
        self._idle_w, self._idle_s, self._idle_source = idle_w, idle_s, "given"
        self._notes: list[str] = []
        self._accuracies: dict[str, Accuracy] = {}
        self._counters: dict[str, int] = {}
        self._stack: list[str] = []
        self._owner: int | None = None
        self._failed_reads = self._failed_run = 0
        self._sampler_cpu_s = 0.0
        self._state = "new"  # -> running -> closed, or the name of the exception that ended it
        self._started_at = ""
        self._ledger: Ledger | None = None
        self._csv: SampleCsv | None = None
        self._lock = threading.Lock()  # the ledger, the stack, the counters
        self._sampling = threading.Lock()  # one reader of the meter at a time
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> EnergyLog:
        if self._state != "new":
            raise MeterError(f"energy log: expected a new log, got one that is {self._state}; make another EnergyLog")
        if self._idle_s > 0:
            self._set_baseline(measure_idle(self.meter, self._idle_s))
        first = self.meter.read()
        if self._csv_path is not None:
            self._csv = SampleCsv(self._csv_path)
        self._started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        for note in (*self.meter.notes, first.note):
            self._note(note)
        source = self._source()
        self._ledger = Ledger(first, source, self._gap_after_s)
        if self._csv is not None:
            self._csv.reading(0.0, first, 0.0, OTHER, source, "")
        self._state = "running"
        if self.period_s > 0:
            self._thread = threading.Thread(target=self._run, name="energy-log", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close("closed" if kind is None else kind.__name__)

    def close(self) -> None:
        """End the log: a last reading, the files. Closing twice is allowed."""
        self._close("closed")

    def phase(self, name: str) -> _Phase:
        """What the program does now: a context manager, or a decorator. Phases nest: `adapt` inside `frame` is
        booked as `frame/adapt`. They follow one thread, the first that enters a phase.

        raise : MeterError if the name is not words of letters, digits, `_ . : -`
        """
        if not PHASE_NAME.fullmatch(name):
            raise MeterError(f"phase: expected letters, digits, spaces and _.:-, got {name!r}; nest phases for a/b")
        return _Phase(self, name)

    def count(self, name: str, n: int = 1) -> None:
        """Count what the energy was spent on (frames, steps), for joules per piece. Any thread may."""
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + n

    def sample(self) -> bool:
        """Take a reading now. return: False if the meter could not be read (counted, never raised)."""
        with self._sampling:
            if self._ledger is None or self._state != "running":
                return False
            try:
                reading = self.meter.read()
            except OSError as error:  # a MeterError, or whatever a meter from elsewhere lets through
                self._read_failed(error)
                return False
            if self._failed_run:
                logger.warning("power meter %s: back after %d failed readings", self.meter.name, self._failed_run)
                self._failed_run = 0
            source = self._source()
            self._note(reading.note)
            with self._lock:
                # Marks up to this reading are complete: they are made under the lock, with a later time from now on.
                if self._state != "running":
                    return False
                flag = self._ledger.read(reading, source)
                energy_j, path = self._ledger.energy_j, self._path()
            if self._csv is not None:
                t_s = (reading.t_ns - self._ledger.start_ns) / 1e9
                self._csv.reading(t_s, reading, energy_j, path, source, flag)
            return True

    def summary(self) -> dict[str, Any]:
        """All figures so far, as in the JSON file. raise: MeterError before the log has begun"""
        if self._ledger is None:
            raise MeterError("energy log: expected a log that has begun, got a new one; use it in a with statement")
        with self._lock:
            ledger = self._ledger
            sources = sources_figures(ledger, self._accuracies)
            duration_s = ledger.duration_s
            head = {
                "format": "alula-energy-1",
                "source": sources[0]["source"] if len(sources) == 1 else "+".join(entry["source"] for entry in sources),
                "accuracy": worst(self._accuracies.values()).value,
                "covers": self.meter.covers,
                "state": self._state,
                "started_at": self._started_at,
            }
            tail = {
                "idle_source": None if self._idle_w is None else self._idle_source,
                "sources": sources,
                "sampling": {
                    "asked_hz": 1 / self.period_s if self.period_s else None,
                    "achieved_hz": (ledger.readings - 1) / duration_s if duration_s > 0 else None,
                    "readings": ledger.readings,
                    "failed_readings": self._failed_reads,
                    "sampler_cpu_ratio": self._sampler_cpu_s / duration_s if duration_s > 0 else None,
                },
                "notes": list(self._notes),
            }
            return head | energy_figures(ledger, self._counters, self._idle_w) | tail

    def save(self) -> None:
        """Write summary and Prometheus file now. A disk that refuses is said and survived."""
        if self._summary_path is None and self._prometheus_path is None:
            return
        summary = self.summary()
        for path, write in ((self._summary_path, write_summary), (self._prometheus_path, write_prometheus)):
            if path is not None:
                try:
                    write(path, summary)
                except OSError as error:
                    self._note(f"{path}: expected to write the summary, got {error}; free some room", say=True)

    def _run(self) -> None:
        """The sampler thread: keeps to the period, skips what it has missed."""
        next_s = saved_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            next_s = max(next_s + self.period_s, now_s)
            if self._stop.wait(max(next_s - now_s, 0.0)):
                return
            self.sample()
            self._sampler_cpu_s = time.thread_time()
            if time.monotonic() - saved_s >= self._save_every_s:
                self.save()
                saved_s = time.monotonic()

    def _close(self, state: str) -> None:
        if self._state != "running":
            return
        assert self._ledger is not None
        self._stop.set()
        stuck = False
        if self._thread is not None:
            alive = self._thread.is_alive()
            self._thread.join(STUCK_S)
            stuck = self._thread.is_alive()
            if not alive:
                self._note("the sampler thread died early; the time after it is a gap", say=True)
        if stuck:
            self._note(f"power meter {self.meter.name}: a read takes over {STUCK_S:g} s; left behind", say=True)
        ended_ns = None if not stuck and self.sample() else self._clock()
        with self._lock:
            self._state = state
            if ended_ns is not None:
                self._ledger.close(ended_ns)
        if self._csv is not None:
            self._csv.close()
            self._note(self._csv.failure)
        self.save()

    def _enter_phase(self, name: str) -> None:
        with self._lock:
            ledger = self._running(name)
            here = threading.get_ident()
            if self._owner is None:
                self._owner = here
            elif self._owner != here:
                raise MeterError(
                    f"phase {name}: expected the thread that entered the first phase, got another; "
                    f"energy cannot be split between threads: give each thread's work a phase of the main loop"
                )
            path = f"{self._stack[-1]}/{name}" if self._stack else name
            self._stack.append(path)
            ledger.account(path).calls += 1
            ledger.mark(self._clock(), path)

    def _leave_phase(self, name: str) -> None:
        with self._lock:
            if not self._stack or self._stack[-1].rpartition("/")[2] != name:
                innermost = self._path() or "none"
                raise MeterError(f"phase {name}: expected the innermost phase to end first, which is {innermost}")
            self._stack.pop()
            if self._ledger is not None and self._state == "running":
                self._ledger.mark(self._clock(), self._path())

    def _running(self, name: str) -> Ledger:
        if self._ledger is None or self._state != "running":
            raise MeterError(f"phase {name}: expected a running log, got a {self._state} one; use it inside `with`")
        return self._ledger

    def _path(self) -> str:
        return self._stack[-1] if self._stack else OTHER

    def _source(self) -> str:
        """The name of the meter that gave the last reading, its accuracy noted."""
        name = self.meter.name
        self._accuracies.setdefault(name, self.meter.accuracy)
        return name

    def _set_baseline(self, baseline: IdleBaseline) -> None:
        self._idle_w = baseline.power_w
        self._idle_source = f"measured for {baseline.seconds:.1f} s by {baseline.source}"

    def _read_failed(self, error: OSError) -> None:
        self._failed_reads += 1
        self._failed_run += 1
        if self._failed_run == 1:
            self._note(f"power meter: {error}", say=True)
            if self._csv is not None and self._ledger is not None:
                t_s = (self._clock() - self._ledger.start_ns) / 1e9
                self._csv.failed(t_s, self._path(), self.meter.name)

    def _note(self, text: str, say: bool = False) -> None:
        if say:
            logger.warning("%s", text)
        if text and text not in self._notes and len(self._notes) < MAX_NOTES:
            self._notes.append(text)
