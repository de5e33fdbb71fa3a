"""Things in images: boxes with names; in a video, with the numbers of their tracks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from alula.device.tasks.box_tracks import NO_TRACK, BoxTrackConfig, BoxTracker
from alula.device.tasks.motion import Motion
from alula.device.tasks.watch import Seen, Watch
from alula.runtime.tasks.detect import Detections

if TYPE_CHECKING:
    from alula.device.camera.source import Frame, FrameSource, Image
    from alula.device.tasks.log import Log
    from alula.runtime.tasks.detect import Detector

LOW_RATIO = 0.4  # of the least score: boxes down to here may continue a track


class BoxWatch(Watch["Detections", "Detections"]):
    """Finds things in the frames of one source; counts the boxes of each class.

    only       : names of the classes that count; () is all
    agnostic   : boxes of different classes drop each other, too
    track      : number the things of a video; not where a box is all of its class
    every, log : as in `Watch`

    In a source whose frames follow each other, boxes get the numbers of their tracks, and `objects` counts the things of each
    name. A box that scores less than it should stays if a track expects it.
    """

    task = "detect"

    def __init__(
        self,
        detector: Detector,
        only: Sequence[str] = (),
        agnostic: bool = False,
        every: int = 1,
        log: Log | None = None,
        track: bool = True,
    ) -> None:
        super().__init__(every, log)
        self.task = detector.task.kind
        detector.places(only)  # a class that it does not know is refused before the first frame
        self._detector, self._only, self._agnostic, self._track = (
            detector,
            only,
            agnostic,
            track and detector.has_things,
        )
        self._tracker: BoxTracker | None = None
        self._names: dict[int, str] = {}
        self._time_s = 0.0

    @property
    def objects(self) -> Counter[str]:
        """How many things of each name have been tracked so far; those that were seen only once or twice left out."""
        counted = self._tracker.counted if self._tracker else Counter[int]()
        return Counter({self._names[kind]: count for kind, count in counted.items()})

    def run(self, source: FrameSource, frames: int | None = None) -> Iterator[Seen[Detections]]:
        """As in `Watch`; each run has its own tracks."""
        conf = self._detector.task.conf
        config = BoxTrackConfig(high_score=conf, low_score=LOW_RATIO * conf)
        tracked = self._track and source.sequence
        self._tracker = BoxTracker(config) if tracked else None
        self._motion = Motion() if tracked else None
        self._time_s = 0.0
        return super().run(source, frames)

    def look(self, image: Image) -> Detections:
        """The boxes of an image."""
        low = self._tracker.config.low_score if self._tracker else None
        return self._detector(image, conf=low, agnostic=self._agnostic, only=self._only)

    def silence(self) -> Detections:
        """No box."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ())

    def settle(self, raw: Detections, frame: Frame, sequence: bool) -> Detections:
        """The same, with numbers of tracks in a sequence."""
        found = raw if self._tracker is None else self._tracked(self._tracker, raw, frame)
        self.counts.update(found.names)
        return found

    def _tracked(self, tracker: BoxTracker, raw: Detections, frame: Frame) -> Detections:
        assert self._motion is not None
        tracker.move(self._motion.shift(frame.image))
        self._time_s = max(self._time_s, frame.time_s)  # containers may lie
        first, second = raw.boxes[:, :2], raw.boxes[:, 2:]
        corners = np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)
        numbers = tracker.update(corners, raw.scores, raw.classes, self._time_s)
        self._names.update(zip(raw.classes.tolist(), raw.names, strict=True))
        kept = np.flatnonzero(numbers != NO_TRACK)
        return replace(raw.at(kept), tracks=numbers[kept])
