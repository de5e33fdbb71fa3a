"""Identity switches of the tracker on rendered flights, beside those of a plain matcher that is given the same boxes.

    python -m tests.bench.tracks --json tracks.json [--seeds 6] [--seconds 30]

A camera pans and climbs over objects of three classes that cross, change size, and vanish under roofs, for 0.3 to 1.5 s and some for less
or more; a detector's boxes jitter, some are missing, some are false alarms, and now and then frames are lost (flights.py).

The plain matcher pairs each box with the last box of a track of its class, the greatest intersection over union first. Of
40 settings (patience in frames, least overlap, least score, the camera's shift added or not) it has the one with the fewest switches
on these very flights; the tracker has its defaults.

Switches: of CLEAR-MOT (Bernardin and Stiefelhagen, EURASIP JIVP 2008, IoU of 0.5); identity F1: of Ristani et al., ECCV workshops 2016.
Summary: track_switch_ratio (ours over plain, all flights; at most 0.5 is wanted), track_switch_ratio_max (of a flight),
switches, switches_plain, idf1, idf1_plain, us_per_frame and us_per_frame_plain (one call with a frame's boxes, median), reunited_ratio and
reunited_ratio_plain (of objects that were out of sight for 0.3 to 1.5 s, those with the same number before and after).
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alula.device.tasks.assignment import assign
from alula.device.tasks.box_tracks import BoxTracker
from alula.report import Table
from tests.bench.flights import RATE, Flight, View, fly, overlaps
from tests.bench.output import finish

MIN_IOU = 0.5  # of an answer and an object, to be the same
OCCLUSION_S = (0.3, 1.5)
PATIENCES, LEAST_OVERLAPS, LEAST_SCORES = (2, 5, 10, 20, 30), (0.1, 0.3), (0.1, 0.5)
Numbers = NDArray[np.int64]


class PlainMatcher:
    """A box continues the track whose last box it overlaps most; greedy, of one class, with a patience."""

    def __init__(self, patience_frames: int, least_overlap: float, least_score: float, moving: bool) -> None:
        self.setting = (patience_frames, least_overlap, least_score, moving)
        self.numbers, self.missed, self.kinds = (np.zeros(0, np.int64) for _ in range(3))
        self.boxes = np.zeros((0, 4))
        self.last = 0

    def __call__(self, view: View) -> Numbers:
        """The number of each box; 0 below the least score."""
        patience, least_overlap, least_score, moving = self.setting
        if moving and view.shift is not None:
            self.boxes = self.boxes + np.tile(view.shift, 2)
        which = np.flatnonzero(view.scores >= least_score)
        boxes, kinds = view.boxes[which].astype(np.float64), view.classes[which]
        overlap = np.where(self.kinds[:, None] == kinds, overlaps(self.boxes, boxes), 0.0)
        found = np.zeros(len(which), np.int64)
        self.missed += 1
        while overlap.size and overlap.max() >= least_overlap:
            row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
            found[column] = self.numbers[row]
            self.boxes[row], self.missed[row] = boxes[column], 0
            overlap[row], overlap[:, column] = 0.0, 0.0
        new = np.flatnonzero(found == 0)
        found[new] = self.last + 1 + np.arange(len(new))
        self.last += len(new)
        kept = self.missed <= patience
        self.numbers = np.concatenate([self.numbers[kept], found[new]])
        self.missed = np.concatenate([self.missed[kept], np.zeros(len(new), np.int64)])
        self.kinds = np.concatenate([self.kinds[kept], kinds[new]])
        self.boxes = np.concatenate([self.boxes[kept], boxes[new]])
        numbers = np.zeros(len(view.boxes), np.int64)
        numbers[which] = found
        return numbers


class Ours:
    """The tracker with its defaults."""

    def __init__(self) -> None:
        self.tracker = BoxTracker()

    def __call__(self, view: View) -> Numbers:
        """The number of each box."""
        self.tracker.move(view.shift)
        return self.tracker.update(view.boxes, view.scores, view.classes, view.time_s)


@dataclass
class Judgement:
    """What a matcher did in one flight. reunited : of objects that came out of an occlusion, with their number and in all"""

    switches: int = 0
    shared: Counter[tuple[int, int]] = field(default_factory=Counter)  # frames of (identity, number)
    objects: int = 0
    answers: int = 0
    reunited: int = 0
    occluded: int = 0
    us: list[float] = field(default_factory=list)

    def add(self, other: Judgement) -> Judgement:
        """Both together: identities and numbers of two flights have nothing to do with each other."""
        total = Judgement(self.switches + other.switches)
        total.objects, total.answers = self.objects + other.objects, self.answers + other.answers
        total.reunited, total.occluded = self.reunited + other.reunited, self.occluded + other.occluded
        total.shared, total.us = self.shared, self.us + other.us
        for (identity, number), count in other.shared.items():
            total.shared[identity + OTHER_FLIGHT * len(total.us), number + OTHER_FLIGHT * len(total.us)] = count
        return total

    @property
    def idf1(self) -> float:
        """2 true / (objects + answers), each identity with one number at most, so that most frames are true."""
        rows = {identity: row for row, identity in enumerate(sorted({pair[0] for pair in self.shared}))}
        columns = {number: column for column, number in enumerate(sorted({pair[1] for pair in self.shared}))}
        cost = np.full((len(rows), len(columns)), np.inf)
        for (identity, number), count in self.shared.items():
            cost[rows[identity], columns[number]] = -count
        true = -float(cost[assign(cost, 0.0)].sum())
        return 2 * true / (self.objects + self.answers)


OTHER_FLIGHT = 1_000_000


def judge(flight: Flight, same: list[NDArray[np.float64]], matcher: Callable[[View], Numbers]) -> Judgement:
    """Run a matcher. same : for each frame the overlaps of objects and boxes (G, N)"""
    judgement = Judgement()
    last: dict[int, tuple[int, float]] = {}  # identity: number and time
    before: dict[int, int] = {}  # pairs of the frame before
    for view, overlap in zip(flight.views, same, strict=True):
        began = time.perf_counter()
        numbers = matcher(view)
        judgement.us.append(1e6 * (time.perf_counter() - began))
        judgement.objects += len(view.identities)
        judgement.answers += int((numbers > 0).sum())
        cost = np.where((overlap >= MIN_IOU) & (numbers > 0), 1.0 - overlap, np.inf)
        for row, column in np.argwhere(np.isfinite(cost)):
            judgement.shared[view.identities[row], int(numbers[column])] += 1
        for row, identity in enumerate(view.identities):  # what was right stays right
            for column in np.flatnonzero(numbers == before.get(identity, -1)):  # one at most
                if np.isfinite(held := cost[row, column]):
                    cost[row], cost[:, column] = np.inf, np.inf
                    cost[row, column] = held
        before = {}
        for row, column in zip(*assign(cost, 2.0), strict=True):
            identity, number = view.identities[row], int(numbers[column])
            before[identity] = number
            if identity in last:
                known, seen_s = last[identity]
                judgement.switches += known != number
                if OCCLUSION_S[0] <= view.time_s - seen_s <= OCCLUSION_S[1]:
                    judgement.occluded += 1
                    judgement.reunited += known == number
            last[identity] = number, view.time_s
    return judgement


def all_of(judgements: list[Judgement]) -> Judgement:
    """The sum over flights."""
    total = Judgement()
    for judgement in judgements:
        total = total.add(judgement)
    return total


def measured(seeds: int, seconds: float) -> tuple[dict[str, Any], dict[str, Any], list[Table]]:
    """Summary, details and tables."""
    flights = [fly(seed, seconds) for seed in range(seeds)]
    same = [[overlaps(view.truth, view.boxes.astype(np.float64)) for view in flight.views] for flight in flights]
    settings = list(itertools.product(PATIENCES, LEAST_OVERLAPS, LEAST_SCORES, (False, True)))
    tried = {
        setting: [judge(flight, s, PlainMatcher(*setting)) for flight, s in zip(flights, same, strict=True)]
        for setting in settings
    }
    best = min(settings, key=lambda setting: sum(judgement.switches for judgement in tried[setting]))
    plain = tried[best]
    ours = [judge(flight, s, Ours()) for flight, s in zip(flights, same, strict=True)]
    total, total_plain = all_of(ours), all_of(plain)
    hidden = [s for flight in flights for s in flight.hidden_s if OCCLUSION_S[0] <= s <= OCCLUSION_S[1]]
    summary = {
        "track_switch_ratio": total.switches / max(total_plain.switches, 1),
        "track_switch_ratio_max": max(a.switches / max(b.switches, 1) for a, b in zip(ours, plain, strict=True)),
        "switches": total.switches,
        "switches_plain": total_plain.switches,
        "idf1": total.idf1,
        "idf1_plain": total_plain.idf1,
        "reunited_ratio": total.reunited / max(total.occluded, 1),
        "reunited_ratio_plain": total_plain.reunited / max(total_plain.occluded, 1),
        "occlusions": len(hidden),
        "us_per_frame": statistics.median(total.us),
        "us_per_frame_plain": statistics.median(total_plain.us),
    }
    patience, least_overlap, least_score, moving = best
    setting = {
        "patience_frames": patience,
        "least_overlap": least_overlap,
        "least_score": least_score,
        "shifted": moving,
    }
    rows = [
        (seed, len(flight.views), len(flight.hidden_s), a.switches, b.switches, a.idf1, b.idf1)
        for seed, (flight, a, b) in enumerate(zip(flights, ours, plain, strict=True))
    ]
    columns = ("seed", "frames", "occlusions", "switches", "plain", "IDF1", "plain's")
    title = f"the plain matcher's best of {len(settings)} settings: {setting}"
    details = {"plain": setting, "flights": [dict(zip(columns, row, strict=True)) for row in rows],
               "settings": [(*s, sum(j.switches for j in tried[s])) for s in settings], "frames_per_s": RATE}  # fmt: skip
    return summary, details, [Table(columns, rows, title)]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6, help="flights (6)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each flight (30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    summary, details, tables = measured(args.seeds, args.seconds)
    finish(summary, details, tables, args.json)


if __name__ == "__main__":
    main()
