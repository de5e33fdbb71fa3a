"""The energy log: a thread samples a meter while the program reports what it is doing.

    with EnergyLog(select_meter(), "power.csv", "energy.json") as log:
        for frame in camera:
            with log.phase("detect"):
                boxes = detect(frame)
            log.count("frames")
    print(log.summary()["counters"]["frames"]["each_j"])

A phase boundary does not touch the meter (a read over I2C would cost more than a short phase): it records the time,
in about 2 microseconds. The ledger interpolates power at the boundary once the readings on both sides of it are there.
`mark` is such a boundary too: `log.energy_j(mark)` is what was used since.
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

from alula.device.power.accounts import FJ, OTHER, Mark
from alula.device.power.clocks import ClockWatch
from alula.device.power.events import CLOCK_STEP, Event
from alula.device.power.fallback import WithFallback
from alula.device.power.idle import IdleBaseline, given_idle, measure_idle
from alula.device.power.ledger import Ledger, Origin
from alula.device.power.limits import Limits, limits_of
from alula.device.power.meter import Accuracy, Clock, Meter
from alula.device.power.prometheus import write_prometheus
from alula.device.power.report import Glance, energy_figures, overall, sources_figures, write_summary
from alula.device.power.sampler import Sampler
from alula.device.power.samples import Samples
from alula.runtime.errors import MeterError

logger = logging.getLogger(__name__)

FORMAT = "alula-energy-2"
PHASE_NAME = re.compile(r"[\w.:\-]+( [\w.:\-]+)*")
MAX_NOTES = 50
# Readings this many periods apart leave a gap; never less than GAP_LEAST_S, which a busy scheduler may take.
GAP_PERIODS, GAP_MIN_S = 5.0, 0.5
MISSING_RATIO = 0.02  # more missing readings are said


class _Phase(contextlib.ContextDecorator):
    """`with log.phase("detect"):` or `@log.phase("detect")`; may be entered again, also inside itself."""

    def __init__(self, log: EnergyLog, name: str) -> None:
        self._log, self._name = log, name

    def __enter__(self) -> None:
        self._log._enter_phase(self._name)

    def __exit__(self, *_: object) -> None:
        self._log._leave_phase(self._name)


class EnergyLog:
    """Energy by phase and class, sampled in the background, written to a file of samples and a JSON file (summary).

    meter           : the caller closes it
    samples_path    : one row per reading; JSON lines if it ends in .jsonl, else CSV
    rate_hz         : samples a second, at most what the meter gives; 0 for no thread (call `sample` yourself)
    fallback        : read while `meter` fails; the figures then say so
    idle            : power at rest, for net figures: a baseline, or watts
    idle_s          : seconds for which the baseline is measured before the log begins
    save_every_s    : the summary is also saved while the log runs, for the sake of power cuts
    prometheus_path : a *.prom file for node_exporter's textfile collector, written with the summary
    gap_after_s     : readings further apart leave a gap (default: 5 periods, at least 0.5 s)
    watch           : notices sleep and steps of the wall clock; default: of this machine, none if `clock` is given
    raise           : MeterError on entry if the meter cannot be read, OSError if the file of samples cannot be made.
                      Once it runs, a meter that fails or a full disk is said (logging, `notes`) and survived
    """

    def __init__(
        self,
        meter: Meter,
        samples_path: Path | str | None = None,
        summary_path: Path | str | None = None,
        *,
        rate_hz: float = 10.0,
        fallback: Meter | None = None,
        idle: IdleBaseline | float | None = None,
        idle_s: float = 0.0,
        save_every_s: float = 60.0,
        prometheus_path: Path | str | None = None,
        gap_after_s: float | None = None,
        clock: Clock = time.monotonic_ns,
        watch: ClockWatch | None = None,
    ) -> None:
        if not 0 <= rate_hz <= 1000:
            raise MeterError(f"energy log: expected rate_hz from 0 to 1000, got {rate_hz}; 10 is plenty for a battery")
        self.meter: Meter = meter if fallback is None else WithFallback(meter, fallback, clock=clock)
        self.period_s = max(1.0 / rate_hz, meter.interval_s) if rate_hz else 0.0
        self._gap_after_s = max(GAP_PERIODS * self.period_s, GAP_MIN_S) if gap_after_s is None else gap_after_s
        self._samples_path, self._summary_path, self._prometheus_path = (
            None if path is None else Path(path) for path in (samples_path, summary_path, prometheus_path)
        )
        self._clock, self._save_every_s = clock, save_every_s
        self._watch = watch or (ClockWatch() if clock is time.monotonic_ns else None)
        self._idle = given_idle(idle) if isinstance(idle, float | int) else idle
        self._idle_s = idle_s
        self.unwritten: set[Path] = set()  # files that lack what should be in them
        self._notes: list[str] = []
        self._counters: dict[str, int] = {}
        self._stack: list[str] = []
        self._owner: int | None = None
        self._failed_reads = self._failed_run = self._unbooked = 0
        self._state = "new"  # -> running -> closed, or the name of the exception that ended it
        self._started_at = ""
        self._ledger: Ledger | None = None
        self._samples: Samples | None = None
        self._lock = threading.Lock()  # the ledger, the stack, the counters
        self._sampling = threading.Lock()  # one reader of the meter at a time
        self._sampler = Sampler(self.period_s, self.sample, self.save, save_every_s) if self.period_s else None

    def __enter__(self) -> EnergyLog:
        if self._state != "new":
            raise MeterError(f"energy log: expected a new log, got one that is {self._state}; make another EnergyLog")
        if self._idle_s > 0:
            self._idle = measure_idle(self.meter, self._idle_s)
        first = self.meter.read()
        if self._samples_path is not None:
            self._samples = Samples(self._samples_path)
        self._started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        for note in (*self.meter.notes, first.note):
            self._note(note)
        origin = self._origin()
        self._ledger = Ledger(first, origin, self._gap_after_s, limits_of(self.meter))
        if self._samples is not None:
            self._samples.reading(0.0, first, 0.0, OTHER, *origin, 0.0, "")
        self._state = "running"
        if self._sampler is not None:
            self._sampler.start()
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

    def mark(self) -> Mark:
        """An instant, for `energy_j`. It costs as little as a phase. raise: MeterError if the log does not run"""
        with self._lock:
            ledger = self._running("energy log: mark")
            mark = Mark(self._clock())
            ledger.mark(mark.t_ns, mark)
            return mark

    def energy_j(self, mark: Mark | None = None) -> float:
        """Joules since the mark, or since the log began, up to now: reads the meter. Their class is that of the summary.

        The energy of a gap is booked when it ends. raise: MeterError before the log has begun
        """
        return sum(self.energy_by_class_j(mark).values())

    def energy_by_class_j(self, mark: Mark | None = None) -> dict[Accuracy, float]:
        """The same, by class."""
        self.sample()
        if self._ledger is None:
            raise MeterError("energy log: expected a log that has begun, got a new one; use it in a with statement")
        with self._lock:
            now = self._ledger.energy
            then = {} if mark is None else now if mark.energy is None else mark.energy
            return {accuracy: (energy_fj - then.get(accuracy, 0)) / FJ for accuracy, energy_fj in now.items()}

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
            origin = self._origin()
            self._note(reading.note)
            with self._lock:
                # Marks up to this reading are complete: they are made under the lock, with a later time from now on.
                if self._state != "running":
                    return False
                self._look_at_clocks(reading.t_ns)
                flag = self._ledger.read(reading, origin, self._limits(origin))
                energy_j, path, age_s = self._ledger.energy_j, self._path(), self._ledger.age_s(reading)
            if flag not in ("", "gap"):
                self._unbooked += 1
            if self._samples is not None:
                t_s = (reading.t_ns - self._ledger.start_ns) / 1e9
                self._samples.reading(t_s, reading, energy_j, path, *origin, age_s, flag)
            return True

    def glance(self) -> Glance:
        """A few figures, at little cost. raise: MeterError before the log has begun"""
        if self._ledger is None:
            raise MeterError("energy log: expected a log that has begun, got a new one; use it in a with statement")
        with self._lock:
            ledger = self._ledger
            until_ns = self._clock() if self._state == "running" else ledger.settled_ns
            seconds = (until_ns - ledger.start_ns) / 1e9
            return Glance(seconds, ledger.energy_j, ledger.power_w, self.meter.name, overall(ledger))

    def summary(self) -> dict[str, Any]:
        """All figures so far, as in the JSON file. raise: MeterError before the log has begun"""
        if self._ledger is None:
            raise MeterError("energy log: expected a log that has begun, got a new one; use it in a with statement")
        with self._lock:
            ledger = self._ledger
            sources = sources_figures(ledger)
            head = {
                "format": FORMAT,
                "source": "+".join(dict.fromkeys(entry["source"] for entry in sources)),
                "accuracy": overall(ledger).value,
                "covers": self.meter.covers,
                "state": self._state,
                "started_at": self._started_at,
            }
            figures = energy_figures(ledger, self._counters, self._idle)
            sampling = self._sampling_figures(ledger)
            notes = [*self._notes, *self._tell_missing(sampling["missing_ratio"])]
            return head | figures | {"sources": sources, "sampling": sampling, "notes": notes}

    def save(self) -> None:
        """Write summary and Prometheus file now. A disk that refuses is said and survived."""
        if self._summary_path is None and self._prometheus_path is None:
            return
        summary = self.summary()
        for path, write in ((self._summary_path, write_summary), (self._prometheus_path, write_prometheus)):
            if path is not None:
                try:
                    write(path, summary)
                    self.unwritten.discard(path)
                except OSError as error:
                    self.unwritten.add(path)
                    self._note(f"{path}: expected to write the summary, got {error.strerror}; free some room", say=True)

    def _sampling_figures(self, ledger: Ledger) -> dict[str, Any]:
        duration_s = ledger.duration_s
        cpu_s = 0.0 if self._sampler is None else self._sampler.cpu_s
        due = duration_s / self.period_s if self.period_s else 0.0
        return {
            "asked_hz": 1 / self.period_s if self.period_s else None,
            "achieved_hz": (ledger.readings - 1) / duration_s if duration_s > 0 else None,
            "age_s": max(self._clock() - ledger.settled_ns, 0) / 1e9 if self._state == "running" else 0.0,
            "readings": ledger.readings,
            "failed_readings": self._failed_reads,
            "unbooked_readings": self._unbooked,
            "missing_ratio": max(0.0, 1 - ledger.readings / due) if due >= 1 else 0.0,
            "sampler_cpu_ratio": cpu_s / duration_s if duration_s > 0 else None,
        }

    def _tell_missing(self, missing_ratio: float) -> list[str]:
        if missing_ratio <= MISSING_RATIO:
            return []
        return [f"{missing_ratio:.0%} of the readings are missing; the bound of the energy counts them"]

    def _look_at_clocks(self, t_ns: int) -> None:
        if self._watch is None or self._ledger is None:
            return
        asleep_s, set_s = self._watch.look()
        if asleep_s:
            self._ledger.slept(t_ns, asleep_s)
            self._note(f"the board slept for {asleep_s:.1f} s; no energy is booked for that time", say=True)
        if set_s:
            self._ledger.events.add(Event(t_ns, CLOCK_STEP, set_s))

    def _close(self, state: str) -> None:
        if self._state != "running":
            return
        assert self._ledger is not None
        trouble = self._sampler.stop() if self._sampler is not None else ""
        stuck = self._sampler is not None and self._sampler.is_stuck
        if trouble:
            self._note(f"power meter {self.meter.name}: {trouble}", say=True)
        before_ns = self._ledger.settled_ns
        booked = not stuck and self.sample() and self._ledger.settled_ns > before_ns
        with self._lock:
            self._state = state
            if not booked:
                self._ledger.close(self._clock())
        if self._samples is not None:
            self._samples.close()
            self._note(self._samples.failure)
            if self._samples.failure:
                self.unwritten.add(self._samples.path)
        self.save()

    def _enter_phase(self, name: str) -> None:
        with self._lock:
            ledger = self._running(f"phase {name}")
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

    def _running(self, what: str) -> Ledger:
        if self._ledger is None or self._state != "running":
            raise MeterError(f"{what}: expected a running log, got a {self._state} one; use it inside `with`")
        return self._ledger

    def _path(self) -> str:
        return self._stack[-1] if self._stack else OTHER

    def _origin(self) -> Origin:
        """The meter that gave the last reading, and its class."""
        return Origin(self.meter.name, self.meter.accuracy)

    def _limits(self, origin: Origin) -> Limits | None:
        """Of a meter that is new; the ledger knows those of the others."""
        return limits_of(self.meter) if self._ledger is not None and origin not in self._ledger.sources else None

    def _read_failed(self, error: OSError) -> None:
        self._failed_reads += 1
        self._failed_run += 1
        if self._failed_run == 1:
            self._note(f"power meter: {error}", say=True)
            if self._samples is not None and self._ledger is not None:
                t_s = (self._clock() - self._ledger.start_ns) / 1e9
                self._samples.failed(t_s, self._path(), *self._origin())

    def _note(self, text: str, say: bool = False) -> None:
        if say:
            logger.warning("%s", text)
        if text and text not in self._notes and len(self._notes) < MAX_NOTES:
            self._notes.append(text)
