"""Bookkeeping: readings and phase marks go in, joules and seconds per phase come out. No thread, no clock, no file.

Between two readings, power is a straight line (a power meter) or constant (a counter: its
difference divided by the time). The interval is cut at the phase marks inside it, and each piece goes to the phase
that ran then, so a phase of 5 ms gets its share at any sampling rate, and the pieces sum to the interval.

Invariants, which tests check:
    energy_j  == sum of phases (with `other`, the time outside all phases) + gap
    duration  == sum of the phases' seconds, of which gap_s were not covered by readings
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from alula.device.power.meter import Reading

OTHER = ""  # the path of time outside all phases
# A counter moves in steps of 1 to 10 ms: over a shorter interval its mean power is noise, and no peak.
MIN_PEAK_S = 0.02


@dataclass
class Account:
    """What one phase used itself, without the phases inside it. `gap_s` of `seconds` have no energy booked here."""

    energy_j: float = 0.0
    seconds: float = 0.0
    gap_s: float = 0.0
    calls: int = 0


@dataclass
class Gap:
    """Time without readings. `energy_j` is a counter's difference where there is one (`counted_j`), else a guess.

    unknown_s : seconds for which not even a guess is possible; no energy is booked for them
    """

    count: int = 0
    seconds: float = 0.0
    energy_j: float = 0.0
    counted_j: float = 0.0
    unknown_s: float = 0.0


@dataclass
class Source:
    """What one meter contributed, gaps left out."""

    energy_j: float = 0.0
    seconds: float = 0.0


class Ledger:
    """Books energy by phase.

    first       : where the log begins
    source      : name of the meter that gave it
    gap_after_s : readings further apart leave a gap between them
    """

    def __init__(self, first: Reading, source: str, gap_after_s: float) -> None:
        self.start_ns = self.settled_ns = first.t_ns
        self.gap_after_ns = int(gap_after_s * 1e9)
        self.energy_j = 0.0
        self.peak_w: float | None = first.power_w
        self.readings = 1
        self.phases: dict[str, Account] = {OTHER: Account()}
        self.gap = Gap()
        self.sources: dict[str, Source] = {source: Source()}
        self._last, self._source = first, source
        self._power_w = first.power_w  # the last power that is known, for guesses
        self._marks: deque[tuple[int, str]] = deque()
        self._path = OTHER  # at settled_ns
        self._blind = False  # part of the present interval is booked as a gap already

    @property
    def duration_s(self) -> float:
        """Seconds from the first reading to the last one booked."""
        return (self.settled_ns - self.start_ns) / 1e9

    def account(self, path: str) -> Account:
        """The phase's account, opened if need be."""
        return self.phases.setdefault(path, Account())

    def mark(self, t_ns: int, path: str) -> None:
        """From `t_ns` on, time belongs to `path`. Marks come in order of time."""
        self._marks.append((t_ns, path))
        # No reading for too long: this is a gap whatever comes, and its marks need not be kept until then.
        if t_ns - self._last.t_ns > self.gap_after_ns:
            self._book_blind(t_ns)
            self._blind = True

    def read(self, reading: Reading, source: str) -> str:
        """Book the time since the last reading. return: '' or `gap`, or `stale` for a reading that is not newer."""
        last, changed = self._last, reading.restarted or source != self._source
        if reading.t_ns <= last.t_ns:
            if changed:
                self._take(reading, source)
            return "stale"
        end_ns = max(reading.t_ns, self.settled_ns)
        whole_s = (end_ns - last.t_ns) / 1e9
        before_w: float | None
        after_w: float | None
        counted = not changed and last.energy_j is not None and reading.energy_j is not None
        if counted:
            assert last.energy_j is not None and reading.energy_j is not None
            before_w = after_w = (reading.energy_j - last.energy_j) / whole_s
        else:
            known = [power for power in (self._power_w, reading.power_w) if power is not None]
            before_w, after_w = (known[0], known[-1]) if known else (None, None)
        is_gap = changed or self._blind or before_w is None or end_ns - last.t_ns > self.gap_after_ns
        if is_gap:
            self._book_gap(end_ns, whole_s, before_w, after_w, counted)
        else:
            assert before_w is not None and after_w is not None
            self._book(end_ns, before_w, after_w, source)
        self._note_peak(reading, after_w, counted, whole_s)
        self._power_w = after_w if counted or reading.power_w is None else reading.power_w
        self._take(reading, source)
        return "gap" if is_gap else ""

    def close(self, t_ns: int) -> None:
        """End the log at `t_ns`; time since the last reading is a gap."""
        if t_ns > self._last.t_ns:
            end_ns = max(t_ns, self.settled_ns)
            self._book_gap(end_ns, (end_ns - self._last.t_ns) / 1e9, self._power_w, self._power_w, False)

    def _take(self, reading: Reading, source: str) -> None:
        if reading.t_ns < self.settled_ns:  # a slow read, and its time is booked already: nothing is booked twice
            reading = dataclasses.replace(reading, t_ns=self.settled_ns)
        self._last, self._source, self._blind = reading, source, False
        self.sources.setdefault(source, Source())
        self.readings += 1

    def _book(self, end_ns: int, before_w: float, after_w: float, source: str) -> None:
        """Book an interval of readings: power goes from before_w to after_w in a straight line."""
        start_ns = self.settled_ns
        slope = (after_w - before_w) / (end_ns - start_ns)
        for from_ns, to_ns, path in self._pieces(end_ns):
            seconds = (to_ns - from_ns) / 1e9
            middle_w = before_w + slope * ((from_ns - start_ns) + (to_ns - start_ns)) / 2
            account = self.account(path)
            account.energy_j += middle_w * seconds
            account.seconds += seconds
        whole_s = (end_ns - start_ns) / 1e9
        energy_j = (before_w + after_w) / 2 * whole_s
        self.energy_j += energy_j
        self.sources[source].energy_j += energy_j
        self.sources[source].seconds += whole_s

    def _book_gap(
        self, end_ns: int, whole_s: float, before_w: float | None, after_w: float | None, counted: bool
    ) -> None:
        self._book_blind(end_ns)
        self.gap.count += 1
        if before_w is None or after_w is None:
            self.gap.unknown_s += whole_s
            return
        energy_j = (before_w + after_w) / 2 * whole_s
        self.gap.energy_j += energy_j
        self.gap.counted_j += energy_j if counted else 0.0
        self.energy_j += energy_j

    def _book_blind(self, end_ns: int) -> None:
        """Book seconds without energy, up to `end_ns`."""
        for from_ns, to_ns, path in self._pieces(end_ns):
            seconds = (to_ns - from_ns) / 1e9
            account = self.account(path)
            account.seconds += seconds
            account.gap_s += seconds
            self.gap.seconds += seconds

    def _pieces(self, end_ns: int) -> Iterator[tuple[int, int, str]]:
        """Cut the time from settled_ns to `end_ns` at the marks; takes the marks and moves settled_ns."""
        while self._marks and self._marks[0][0] <= end_ns:
            t_ns, path = self._marks.popleft()
            # A mark may lie before settled_ns only if a late reading was moved there: it takes effect at once.
            if t_ns > self.settled_ns:
                yield self.settled_ns, t_ns, self._path
                self.settled_ns = t_ns
            self._path = path
        if end_ns > self.settled_ns:
            yield self.settled_ns, end_ns, self._path
            self.settled_ns = end_ns

    def _note_peak(self, reading: Reading, mean_w: float | None, counted: bool, whole_s: float) -> None:
        power_w = mean_w if reading.power_w is None else reading.power_w
        if power_w is not None and (not counted or whole_s >= MIN_PEAK_S):
            self.peak_w = power_w if self.peak_w is None else max(self.peak_w, power_w)
