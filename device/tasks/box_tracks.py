"""One number per object: boxes of a detector are tracked from frame to frame, through crossings, misses and occlusions.

tracker = BoxTracker()
for frame in source:
    tracker.move(motion.shift(frame.image))  # where the camera moves; may be left out
    numbers = tracker.update(boxes, scores, classes, frame.time_s)

Each track predicts where its box is now (kalman.py). Boxes and tracks of one class are paired at the least cost (assignment.py), in two
stages: first the boxes with high scores, then those with low ones, for tracks that found none (Zhang et al., "ByteTrack:
multi-object tracking by associating every detection box", ECCV 2022). The cost is minus twice the logarithm of the likelihood, so
a track that has not been seen for long, and may be anywhere, does not take the box of one that has. It is kept for some seconds, and
takes up its number where it comes out.

Positions are kept in *ground* coordinates, as in track.py: image coordinates minus the camera's accumulated shift. So what stands
on the ground stands still, however the camera moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alula.device.tasks.assignment import assign
from alula.device.tasks.kalman import RATE, BoxFilters, Noise, measure
from alula.runtime.errors import DataError, ShapeError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NO_TRACK = 0  # the number of a box that belongs to none

_RECORD = np.dtype(
    [("number", np.int64), ("class", np.int64), ("sightings", np.int64), ("missed", np.int64)]
    + [("first_s", np.float64), ("last_s", np.float64), ("score", np.float64)]
)


@dataclass(frozen=True)
class BoxTrackConfig:
    """How boxes are followed.

    high_score    : boxes from here on are paired first, and start tracks
    low_score     : boxes from here on may continue a track; the others are ignored
    patience_s    : a track that has not been seen for longer has ended
    min_sightings : a track with fewer is tentative: it ends when it has been missed in two frames
    gate          : a box is none of a track's beyond this squared Mahalanobis distance; 18.5 is passed by 0.1 %
    novelty       : density of boxes that belong to no track, per box area and per factor e of both sides: higher, and a box
                    rather starts a new track than continues one that may be anywhere
    unknown_shift : sizes by which places become less certain in a frame whose shift is unknown
    """

    high_score: float = 0.5
    low_score: float = 0.1
    patience_s: float = 2.0
    min_sightings: int = 3
    gate: float = 18.5
    novelty: float = 0.003
    unknown_shift: float = 0.1
    noise: Noise = field(default_factory=Noise)


@dataclass(frozen=True, eq=False)
class BoxTrack:
    """A track as it is now.

    box        : (4,) float64 left, top, right, bottom, pixels of the current image: filtered if seen, else predicted
    velocity   : (2,) pixels per second over the ground
    class_index: of the class; score: of the last sighting
    missed     : frames since the last sighting; 0: seen in this one
    confirmed  : seen often enough to be no false alarm
    """

    number: int
    class_index: int
    box: Floats
    velocity: Floats
    score: float
    sightings: int
    missed: int
    first_s: float
    last_s: float
    confirmed: bool


class BoxTracker:
    """Gives each box of a frame the number of its track.

    counted : of each class, tracks so far that were seen often enough to be no false alarms
    """

    def __init__(self, config: BoxTrackConfig | None = None) -> None:
        self.config = config or BoxTrackConfig()
        self.counted: Counter[int] = Counter()
        self._filters = BoxFilters(self.config.noise)
        self._records = np.zeros(0, _RECORD)  # (T,), in step with the filters, by number
        self._camera = np.zeros(2)  # accumulated shift of the image, pixels
        self._shift = np.zeros(2)
        self._time_s: float | None = None
        self._last_number = 0

    def move(self, shift: Sequence[float] | NDArray[np.float64] | None) -> None:
        """The ground has moved in the image by (x, y) pixels since the last frame; call it before `update`.

        None: unknown. Then it is assumed to have moved as before, and all places are less certain.
        raise : DataError if `shift` is not two numbers
        """
        if shift is None:
            self._filters.spread(self.config.unknown_shift)
        else:
            moved = np.asarray(shift, np.float64)
            if moved.shape != (2,) or not np.isfinite(moved).all():
                raise DataError(
                    f"BoxTracker.move: expected (x, y) in pixels, got {shift}; None says that it is unknown"
                )
            self._shift = moved
        self._camera = self._camera + self._shift

    def update(self, boxes: ArrayLike, scores: ArrayLike, classes: ArrayLike, time_s: float) -> Integers:
        """The boxes of one frame.

        boxes   : (N, 4) left, top, right, bottom, pixels of the image
        scores  : (N,) 0 to 1
        classes : (N,) integers; boxes of different classes are never one track
        time_s  : of the frame, later than or as the last one's; a lost frame is a longer step
        return  : (N,) int64, the number of each box's track, from 1 on; 0: a low score that no track expected
        raise   : ShapeError, DataError; the tracks are then as before
        """
        corners, scores, classes, step_s = self._checked(boxes, scores, classes, time_s)
        config, filters = self.config, self._filters
        self._time_s = float(time_s)
        self._keep(self._time_s - self._records["last_s"] <= config.patience_s)
        filters.predict(step_s)
        seen = measure(corners - np.tile(self._camera, 2))
        numbers = np.full(len(seen), NO_TRACK, np.int64)
        found = np.zeros(len(filters), bool)
        high = scores >= config.high_score
        for stage, candidates in enumerate((high, ~high & (scores >= config.low_score))):
            which = np.flatnonzero(candidates)
            # A low score may be a false alarm: it continues what was seen just now, and finds nothing again
            tracks = np.flatnonzero(~found & ((self._records["missed"] == 0) | (stage == 0)))
            if not (which.size and tracks.size):
                continue
            rows, columns = self._pairs(tracks, seen[which], classes[which])
            rows, columns = tracks[rows], which[columns]
            filters.update(rows, seen[columns])
            found[rows] = True
            self._records["score"][rows] = scores[columns]
            numbers[columns] = self._records["number"][rows]
        self._sighted(found)
        self._start(np.flatnonzero(high & (numbers == NO_TRACK)), seen, scores, classes, numbers)
        return numbers

    @property
    def tracks(self) -> list[BoxTrack]:
        """The live tracks, those out of sight included, by number."""
        boxes = self._filters.boxes + np.tile(self._camera, 2)
        velocities = self._filters.state[RATE, :, :2]
        return [
            BoxTrack(
                int(record["number"]),
                int(record["class"]),
                box,
                velocity.copy(),
                float(record["score"]),
                int(record["sightings"]),
                int(record["missed"]),
                float(record["first_s"]),
                float(record["last_s"]),
                bool(record["sightings"] >= self.config.min_sightings),
            )
            for record, box, velocity in zip(self._records, boxes, velocities, strict=True)
        ]

    def _pairs(self, tracks: Integers, seen: Floats, classes: Integers) -> tuple[Integers, Integers]:
        """Indices into `tracks` and into `seen` (N, 4) of what belongs together."""
        squared, logarithm = self._filters.distances(seen, tracks)
        limit = -2.0 * np.log(self.config.novelty) - 4.0 * np.log(2.0 * np.pi)
        other = self._records["class"][tracks][:, None] != classes
        return assign(np.where(other | (squared > self.config.gate), np.inf, squared + logarithm), limit)

    def _sighted(self, found: NDArray[np.bool_]) -> None:
        """Count sightings and misses; end the tentative tracks that have been missed."""
        records, config = self._records, self.config
        records["sightings"][found] += 1
        records["last_s"][found] = self._time_s
        records["missed"] = np.where(found, 0, records["missed"] + 1)
        confirmed = found & (records["sightings"] == config.min_sightings)
        self.counted.update(records["class"][confirmed].tolist())
        self._keep((records["sightings"] >= config.min_sightings) | (records["missed"] < 2))

    def _keep(self, which: NDArray[np.bool_]) -> None:
        self._records = self._records[which]
        self._filters.keep(which)

    def _start(self, which: Integers, seen: Floats, scores: Floats, classes: Integers, numbers: Integers) -> None:
        """New tracks for the boxes `which`; writes their numbers."""
        fresh = np.zeros(len(which), _RECORD)
        fresh["number"] = numbers[which] = self._last_number + 1 + np.arange(len(which))
        fresh["class"], fresh["score"] = classes[which], scores[which]
        fresh["sightings"], fresh["first_s"], fresh["last_s"] = 1, self._time_s, self._time_s
        if self.config.min_sightings <= 1:
            self.counted.update(classes[which].tolist())
        self._last_number += len(which)
        self._records = np.concatenate([self._records, fresh])
        self._filters.add(seen[which])

    def _checked(
        self, boxes: ArrayLike, scores: ArrayLike, classes: ArrayLike, time_s: float
    ) -> tuple[Floats, Floats, Integers, float]:
        """The arguments as arrays, and the seconds since the last frame."""
        corners, scores, classes = np.asarray(boxes, np.float64), np.asarray(scores, np.float64), np.asarray(classes)
        if corners.size == 0:
            corners = corners.reshape(0, 4)
        if corners.ndim != 2 or corners.shape[1:] != (4,) or {scores.shape, classes.shape} != {corners.shape[:1]}:
            raise ShapeError(
                f"BoxTracker: expected boxes (N, 4), scores (N,) and classes (N,), got {corners.shape}, {scores.shape} and "
                f"{classes.shape}; give one score and one class for each box"
            )
        if classes.size and classes.dtype.kind not in "iu":
            raise DataError(
                f"BoxTracker: expected classes as integers, got {classes.dtype}; give places among the outputs"
            )
        wrong = ~(
            np.isfinite(corners).all(axis=1) & np.isfinite(scores) & (corners[:, :2] <= corners[:, 2:]).all(axis=1)
        )
        if wrong.any():
            first = int(wrong.argmax())
            raise DataError(
                f"BoxTracker: expected left, top, right, bottom and a score, got {corners[first].tolist()} and "
                f"{scores[first]} for box {first}; leave out what is not finite, and put the smaller corner first"
            )
        last_s = self._time_s if self._time_s is not None else time_s
        if not np.isfinite(time_s) or time_s < last_s:
            raise DataError(
                f"BoxTracker: expected a time from {last_s} s on, got {time_s}; give frames in order, or begin a new tracker"
            )
        return corners, scores, classes.astype(np.int64), float(time_s - last_s)
