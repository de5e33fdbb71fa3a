"""One track per sign: boxes are tracked from frame to frame over the moving ground, and their readings vote.

Positions are compared in *ground* coordinates: image coordinates minus the camera's accumulated shift. They are accurate
for some seconds, which is enough for a track. A sign that comes back later is recognised by its text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from alula.device.tasks.boxes import Box, Floats
from alula.device.tasks.recognise import Reading

CUT_OFF_WEIGHT = 0.05  # of a vote whose box touches the edge of the image: the word continues outside


@dataclass(frozen=True)
class TrackConfig:
    """How signs are followed.

    reach            : a box continues a track that is nearer than this many of the longer side of the two
    patience_frames  : processed frames without a sighting after which a track has ended
    settle_after     : a track with this many agreeing, confident readings is no longer read; 0 keeps reading
    settle_confidence: what counts as confident there
    min_sightings    : shorter tracks are not reported
    min_confidence   : weaker readings are not reported
    """

    reach: float = 0.6
    patience_frames: int = 6
    settle_after: int = 4
    settle_confidence: float = 0.95
    min_sightings: int = 2
    min_confidence: float = 0.75


@dataclass(frozen=True, eq=False)
class Sighting:
    """One box in one frame. `reading` is None where the track was settled; `whole` is false at the image's edge."""

    frame: int
    time_s: float
    quad: Floats
    score: float
    whole: bool
    reading: Reading | None


@dataclass(eq=False)
class Track:
    """The sightings of one sign, oldest first.

    ground : its last position in ground coordinates, (2,) x y, pixels
    extent : its longer side, pixels
    leg    : of the flight: ground coordinates of different legs have nothing to do with each other
    """

    number: int
    ground: NDArray[np.float64]
    extent: float
    leg: int = 0
    missed: int = 0
    sightings: list[Sighting] = field(default_factory=list)

    def votes(self) -> dict[str, float]:
        """Weight per text: the sum of squared confidences, whole boxes before cut ones."""
        votes: dict[str, float] = {}
        for sighting in self.sightings:
            if sighting.reading is not None and sighting.reading.text:
                weight = sighting.reading.confidence**2 * (1.0 if sighting.whole else CUT_OFF_WEIGHT)
                votes[sighting.reading.text] = votes.get(sighting.reading.text, 0.0) + weight
        return votes

    def text(self) -> str:
        """The text with most votes, or the empty string."""
        votes = self.votes()
        return max(votes, key=lambda text: (votes[text], text)) if votes else ""

    def best(self) -> Sighting | None:
        """The most confident sighting among those that read the winning text."""
        text = self.text()
        agreeing = [seen for seen in self.sightings if seen.reading is not None and seen.reading.text == text]
        return max(agreeing, key=_quality, default=None)

    def settled(self, config: TrackConfig) -> bool:
        """True if reading it once more would change nothing."""
        if config.settle_after == 0:
            return False
        sure = [
            seen.reading.text
            for seen in self.sightings
            if seen.reading is not None and seen.whole and seen.reading.confidence >= config.settle_confidence
        ]
        return len(sure) >= config.settle_after and len(set(sure[-config.settle_after :])) == 1

    def absorb(self, other: Track) -> None:
        """Take over another track's sightings: both were the same sign."""
        if other.sightings and self.sightings and other.sightings[-1].frame > self.sightings[-1].frame:
            self.ground, self.extent, self.leg = other.ground, other.extent, other.leg
        self.sightings = sorted([*self.sightings, *other.sightings], key=lambda seen: seen.frame)


class Tracker:
    """Assigns boxes to tracks, frame by frame."""

    def __init__(self, config: TrackConfig | None = None) -> None:
        self.config = config or TrackConfig()
        self.live: list[Track] = []
        self.ended: list[Track] = []
        self._camera = np.zeros(2)  # accumulated shift of the image, pixels
        self._leg = 0
        self._numbers = itertools.count(1)

    def move(self, shift: Sequence[float] | NDArray[np.float64] | None) -> None:
        """The ground has moved in the image by (x, y) pixels since the last frame.

        None: unknown. Then every track ends, since the next box at its place may be another sign.
        """
        if shift is None:
            self._leg += 1
            self.finish()
            return
        self._camera = self._camera + np.asarray(shift, np.float64)

    def assign(self, boxes: Sequence[Box]) -> list[Track]:
        """The track of every box, new ones where none fits; one box a track. Call `move` before; add a sighting to each after."""
        grounds = [box.centre.astype(np.float64) - self._camera for box in boxes]
        extents = [max(box.size) for box in boxes]
        pairs = []
        for row, (ground, extent) in enumerate(zip(grounds, extents, strict=True)):
            for track in self.live:
                distance = float(np.linalg.norm(ground - track.ground)) / max(extent, track.extent)
                if distance < self.config.reach:
                    pairs.append((distance, row, track))
        chosen: dict[int, Track] = {}
        taken: set[int] = set()
        for _, row, track in sorted(pairs, key=lambda pair: pair[:2]):
            if row not in chosen and track.number not in taken:
                chosen[row] = track
                taken.add(track.number)
        for row, (ground, extent) in enumerate(zip(grounds, extents, strict=True)):
            if row in chosen:
                track = chosen[row]
                track.ground, track.extent, track.missed = ground, extent, 0
            else:
                chosen[row] = Track(next(self._numbers), ground, extent, self._leg)
        found = [chosen[row] for row in range(len(boxes))]
        seen = {track.number for track in found}
        for track in self.live:
            if track.number not in seen:
                track.missed += 1
        known = {track.number for track in self.live}
        self.live += [track for track in found if track.number not in known]
        self._retire(lambda track: track.missed > self.config.patience_frames)
        return found

    def finish(self) -> None:
        """End every track: the flight, or one leg of it, is over."""
        self._retire(lambda track: True)

    def _retire(self, over: Callable[[Track], bool]) -> None:
        for track in [track for track in self.live if over(track)]:
            self.live.remove(track)
            self._file(track)

    def _file(self, track: Track) -> None:
        for earlier in self.ended:
            if same_sign(earlier, track, self.config):
                earlier.absorb(track)
                return
        self.ended.append(track)

    def signs(self) -> list[Track]:
        """The tracks worth reporting so far, those still in view included, in order of appearance."""
        merged: list[Track] = []
        for track in sorted([*self.ended, *self.live], key=lambda track: track.sightings[0].frame):
            earlier = next((known for known in merged if same_sign(known, track, self.config)), None)
            if earlier is None:
                merged.append(replace(track, sightings=list(track.sightings)))
            else:
                earlier.absorb(track)
        return [track for track in merged if self._worth_reporting(track)]

    def _worth_reporting(self, track: Track) -> bool:
        best = track.best()
        return (
            best is not None
            and best.reading is not None
            and best.whole
            and len(track.sightings) >= self.config.min_sightings
            and best.reading.confidence >= self.config.min_confidence
            and any(character.isalnum() for character in best.reading.text)
        )


def same_sign(a: Track, b: Track, config: TrackConfig) -> bool:
    """True if two tracks show one sign: the same text, or a similar one at the same place within a short while.

    Two different signs with the same text count as one.
    """
    text_a, text_b = a.text(), b.text()
    if text_a == text_b:
        return text_a != "" or _near(a, b, config)
    if not _near(a, b, config):
        return False
    short, long = sorted((text_a, text_b), key=len)
    return short in long or edit_distance(text_a, text_b) <= max(1, len(long) // 3)


def _near(a: Track, b: Track, config: TrackConfig) -> bool:
    first, second = sorted((a, b), key=lambda track: track.sightings[0].frame)
    gap = second.sightings[0].frame - first.sightings[-1].frame
    distance = float(np.linalg.norm(a.ground - b.ground))
    return a.leg == b.leg and gap <= 3 * config.patience_frames and distance < config.reach * max(a.extent, b.extent)


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: insertions, deletions and substitutions that turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


def _quality(sighting: Sighting) -> tuple[bool, float]:
    assert sighting.reading is not None
    return sighting.whole, sighting.reading.confidence
