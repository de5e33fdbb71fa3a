"""Bookkeeping: readings and phase marks go in, joules and seconds per phase and class come out. No thread, no clock, no file.

Between two readings, power is a straight line (a power meter) or constant (a counter: its difference divided by the time). The
interval is cut at the phase marks inside it, and each piece goes to the phase that ran then, so a phase of 5 ms gets its
share at any sampling rate.

Energy is counted in whole femtojoules. The energy from the beginning of an interval to an instant in it is rounded, and a piece is
the difference of two such figures: pieces add up to the interval whatever the cuts, and all sums are exact.

Invariants, which tests check:
    energy   == sum of phases (with `other`, the time outside all phases) + gap, exactly
    duration == sum of the phases' seconds, of which gap_s were not covered by readings
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from alula.device.power import events
from alula.device.power.accounts import FJ, OTHER, Account, Energy, Gap, Mark, Source, add, joules
from alula.device.power.bounds import Bound
from alula.device.power.freeze import Freeze
from alula.device.power.limits import NO_LIMITS, Limits
from alula.device.power.meter import Accuracy, Reading

# A counter moves in steps of 1 to 10 ms: over a shorter interval its mean power is noise, and no peak.
MIN_PEAK_S = 0.02
SLACK_S = 0.05  # a counter may owe as much time when it is judged
FLAGS = ("", "gap", "stale", "frozen", "implausible")


class Origin(NamedTuple):
    """Where a figure comes from: the meter's name, and its class."""

    source: str
    accuracy: Accuracy


class Ledger:
    """Books energy by phase and class.

    first       : where the log begins
    origin      : the meter that gave it
    gap_after_s : readings further apart leave a gap between them
    limits      : of that meter
    """

    def __init__(self, first: Reading, origin: Origin, gap_after_s: float, limits: Limits | None = None) -> None:
        self.start_ns = self.settled_ns = first.t_ns
        self.gap_after_ns = int(gap_after_s * 1e9)
        self.energy: Energy = {}  # all that is booked
        self.peak_w: float | None = first.power_w
        self.readings = 1
        self.phases: dict[str, Account] = {OTHER: Account()}
        self.gap = Gap()
        self.sources: dict[Origin, Source] = {}
        self.events = events.Events()
        self._last, self._origin = first, origin
        self._power_w = first.power_w  # the last power that is known, for guesses
        self._marks: deque[tuple[int, str | Mark]] = deque()
        self._path = OTHER  # at settled_ns
        self._blind = False  # part of the present interval is booked as a gap already
        self._broken = False  # the present interval is a gap, however short
        self._was_implausible = False
        self._freeze = Freeze(first)
        self._frozen_s = 0.0  # of the present run, until it was noticed
        self._moved_ns = first.t_ns  # when the count last changed
        self._source = self._open(origin, limits)
        if first.power_w is not None and not self._source.bound.limits.holds(first.power_w):
            self.peak_w = self._power_w = None  # no peak, and no guess follows from it
            self._broken = first.energy_j is None
            if told := self._implausible(first):
                self.events.add(events.Event(first.t_ns, events.IMPLAUSIBLE, 0.0, f"{origin.source}: {told}"))

    @property
    def energy_j(self) -> float:
        """All that is booked."""
        return joules(self.energy)

    @property
    def power_w(self) -> float | None:
        """The last power that is known."""
        return self._power_w

    @property
    def duration_s(self) -> float:
        """Seconds from the first reading to the last one booked."""
        return (self.settled_ns - self.start_ns) / 1e9

    def account(self, path: str) -> Account:
        """The phase's account, opened if need be."""
        return self.phases.setdefault(path, Account())

    def mark(self, t_ns: int, what: str | Mark) -> None:
        """From `t_ns` on, time belongs to this path; or a Mark, which is told the energy up to there. In order of time."""
        self._marks.append((t_ns, what))
        # No reading for too long: this is a gap whatever comes, and its marks need not be kept until then.
        if t_ns - self._last.t_ns > self.gap_after_ns:
            self._book_blind(t_ns)
            self._blind = True

    def read(self, reading: Reading, origin: Origin, limits: Limits | None = None) -> str:
        """Book the time since the last reading. return: one of FLAGS; what is stale, frozen or implausible is not booked."""
        last, changed = self._last, reading.restarted or origin != self._origin
        if reading.t_ns <= last.t_ns:
            if changed:
                self._take(reading, origin, limits)
            return "stale"
        was_frozen = self._frozen_s > 0
        self._end_doubt(self._freeze.doubted_s if changed else self._freeze.see(reading))
        if changed:
            self._freeze = Freeze(reading)
        elif self._freeze.is_frozen:
            self._notice_frozen()
            return "frozen"
        told = "" if changed else self._implausible(reading)
        if told and not self._was_implausible:
            self.events.add(events.Event(reading.t_ns, events.IMPLAUSIBLE, 0.0, f"{origin.source}: {told}"))
        self._was_implausible = bool(told)
        if told:
            if reading.energy_j is None:
                return "implausible"
            changed = True  # the counter is counted on from here: what it says of the time before means nothing
        now_w = None if told else reading.power_w  # a counter's own watts are made of the same leap
        changed |= was_frozen  # what a counter says of the time in which it stood still means nothing either
        end_ns = max(reading.t_ns, self.settled_ns)
        whole_s = (end_ns - last.t_ns) / 1e9
        before_w: float | None
        after_w: float | None
        counted = not changed and last.energy_j is not None and reading.energy_j is not None
        if counted:
            assert last.energy_j is not None and reading.energy_j is not None
            before_w = after_w = (reading.energy_j - last.energy_j) / whole_s
        else:
            known = [power for power in (self._power_w, now_w) if power is not None]
            before_w, after_w = (known[0], known[-1]) if known else (None, None)
        is_gap = changed or self._blind or self._broken or before_w is None or end_ns - last.t_ns > self.gap_after_ns
        if is_gap:
            self._book_gap(end_ns, whole_s, before_w, after_w, counted)
        else:
            assert before_w is not None and after_w is not None
            if not counted:
                self._source.bound.interval(before_w, after_w, whole_s)
            elif self._source.bound.limits.is_sampled and last.power_w is not None and now_w is not None:
                self._source.bound.interval(last.power_w, now_w, whole_s)
            self._book(end_ns, before_w, after_w)
        self._note_peak(now_w, after_w, counted, whole_s)
        self._power_w = after_w if counted or now_w is None else now_w
        self._take(reading, origin, limits)
        return "gap" if is_gap else ""

    def slept(self, t_ns: int, seconds: float) -> None:
        """The board slept for `seconds` before `t_ns`, which the log's time does not count: what was read around it is a gap."""
        self.events.add(events.Event(t_ns, events.SUSPEND, seconds))
        self._source.bound.suspended(seconds)
        self._broken = True

    def age_s(self, reading: Reading) -> float:
        """How long the meter has shown the figures of this reading, which was the last that was given to `read`."""
        return (reading.t_ns - self._freeze.since_ns) / 1e9

    def close(self, t_ns: int) -> None:
        """End the log at `t_ns`. The power of the last reading holds until then, if it is not further than readings may be; else
        that time is a gap."""
        self._end_doubt(self._freeze.doubted_s)
        power_w, is_broken = self._power_w, self._blind or self._broken or self._was_implausible
        if t_ns <= self._last.t_ns:
            return
        end_ns = max(t_ns, self.settled_ns)
        whole_s = (end_ns - self._last.t_ns) / 1e9
        if power_w is None or is_broken or end_ns - self._last.t_ns > self.gap_after_ns:
            self._book_gap(end_ns, whole_s, power_w, power_w, False)
        else:
            self._source.bound.interval(power_w, power_w, whole_s)
            self._book(end_ns, power_w, power_w)

    def _open(self, origin: Origin, limits: Limits | None) -> Source:
        return self.sources.setdefault(origin, Source(Bound(limits or NO_LIMITS)))

    def _implausible(self, reading: Reading) -> str:
        """What is wrong with the power, or with what the counter says of it since it last moved; '' if it can be."""
        limits, last = self._source.bound.limits, self._last
        power_w = reading.power_w
        if reading.energy_j is not None and last.energy_j is not None:
            seconds = (reading.t_ns - min(self._moved_ns, last.t_ns)) / 1e9 + SLACK_S
            power_w = (reading.energy_j - last.energy_j) / seconds
        if power_w is None or limits.holds(power_w):
            return ""
        return f"expected {limits.min_w:g} to {limits.max_w:g} W, got {power_w:.4g} W"

    def _end_doubt(self, doubted_s: float) -> None:
        """A doubtful run of equal figures has ended: what was booked as power widens the bound, the rest was a gap."""
        if doubted_s:
            self._source.bound.frozen(self._power_w or 0.0, self._frozen_s or doubted_s)
            self._frozen_s = 0.0

    def _notice_frozen(self) -> None:
        """From now on the sensor gives no readings."""
        if not self._frozen_s:
            since_ns = self._freeze.since_ns
            self._frozen_s = (self._last.t_ns - since_ns) / 1e9
            note = f"{self._origin.source}: the same figures over and over"
            self.events.add(events.Event(since_ns, events.FROZEN, self._frozen_s, note))
        self._broken = True

    def _take(self, reading: Reading, origin: Origin, limits: Limits | None) -> None:
        if reading.t_ns < self.settled_ns:  # a slow read, and its time is booked already: nothing is booked twice
            reading = dataclasses.replace(reading, t_ns=self.settled_ns)
        if reading.energy_j != self._last.energy_j:
            self._moved_ns = reading.t_ns
        self._last, self._blind, self._broken = reading, False, False
        if origin != self._origin:
            self._origin, self._source = origin, self._open(origin, limits)
        self.readings += 1

    def _book(self, end_ns: int, before_w: float, after_w: float) -> None:
        """Book an interval of readings: power goes from before_w to after_w in a straight line."""
        start_ns = self.settled_ns
        half_slope = (after_w - before_w) / (end_ns - start_ns) / 2
        accuracy, so_far_fj = self._origin.accuracy, 0
        for from_ns, to_ns, path in self._pieces(end_ns):
            past_ns = to_ns - start_ns
            until_fj = round((before_w + half_slope * past_ns) * past_ns * 1e6)  # W * ns = nJ
            account = self.account(path)
            add(account.energy, accuracy, until_fj - so_far_fj)
            add(self.energy, accuracy, until_fj - so_far_fj)
            account.nanoseconds += to_ns - from_ns
            so_far_fj = until_fj
        self._source.energy_fj += so_far_fj
        self._source.nanoseconds += end_ns - start_ns

    def _book_gap(
        self, end_ns: int, whole_s: float, before_w: float | None, after_w: float | None, counted: bool
    ) -> None:
        self.events.add(events.Event(self._last.t_ns, events.GAP, whole_s))
        self._book_blind(end_ns)
        self.gap.count += 1
        mean_w = None if before_w is None or after_w is None else (before_w + after_w) / 2
        if not counted:
            self._source.bound.gap(mean_w, whole_s)
        if mean_w is None:
            self.gap.unknown_s += whole_s
            return
        energy_fj = round(mean_w * whole_s * FJ)
        accuracy = self._origin.accuracy if counted else Accuracy.GUESSED
        self.gap.guessed_fj += 0 if counted else energy_fj
        add(self.gap.energy, accuracy, energy_fj)
        add(self.energy, accuracy, energy_fj)

    def _book_blind(self, end_ns: int) -> None:
        """Book seconds without energy, up to `end_ns`."""
        for from_ns, to_ns, path in self._pieces(end_ns):
            account = self.account(path)
            account.nanoseconds += to_ns - from_ns
            account.gap_ns += to_ns - from_ns
            self.gap.nanoseconds += to_ns - from_ns

    def _pieces(self, end_ns: int) -> Iterator[tuple[int, int, str]]:
        """Cut the time from settled_ns to `end_ns` at the marks; takes the marks and moves settled_ns."""
        while self._marks and self._marks[0][0] <= end_ns:
            t_ns, what = self._marks.popleft()
            # A mark may lie before settled_ns only if a late reading was moved there: it takes effect at once.
            if t_ns > self.settled_ns:
                yield self.settled_ns, t_ns, self._path
                self.settled_ns = t_ns
            if isinstance(what, Mark):
                what.energy = dict(self.energy)
            else:
                self._path = what
        if end_ns > self.settled_ns:
            yield self.settled_ns, end_ns, self._path
            self.settled_ns = end_ns

    def _note_peak(self, now_w: float | None, mean_w: float | None, counted: bool, whole_s: float) -> None:
        power_w = mean_w if now_w is None else now_w
        if power_w is not None and (not counted or whole_s >= MIN_PEAK_S):
            self.peak_w = power_w if self.peak_w is None else max(self.peak_w, power_w)
