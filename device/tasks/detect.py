"""Things in images: boxes with names, of each image alone; in a video, with the numbers of their tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from alula.device.tasks.box_tracks import BoxTracker
from alula.device.tasks.motion import Motion
from alula.device.tasks.watch import Watch

if TYPE_CHECKING:
    from alula.device.camera.source import Frame, Image
    from alula.device.tasks.log import Log
    from alula.runtime.tasks.detect import Detections, Detector


class BoxWatch(Watch["Detections", "Detections"]):
    """Finds things in the frames of one source; counts the boxes of each class, and follows them where frames follow each other.

    only       : names of the classes that count; () is all
    agnostic   : boxes of different classes drop each other, too
    every, log : as in `Watch`
    """

    task = "detect"

    def __init__(
        self,
        detector: Detector,
        only: Sequence[str] = (),
        agnostic: bool = False,
        every: int = 1,
        log: Log | None = None,
    ) -> None:
        super().__init__(every, log)
        detector.places(only)  # a class that it does not know is refused before the first frame
        self._detector, self._only, self._agnostic = detector, only, agnostic
        self._tracker, self._motion = BoxTracker(), Motion()

    def tracks(self) -> dict[str, int]:
        """Of each class, how many things were seen often enough to be no false alarms."""
        names = self._detector.names_of(list(self._tracker.counted))
        return dict(zip(names, self._tracker.counted.values(), strict=True))

    def look(self, image: Image) -> Detections:
        """The boxes of an image."""
        return self._detector(image, agnostic=self._agnostic, only=self._only)

    def settle(self, raw: Detections, frame: Frame, sequence: bool) -> Detections:
        """The same, with tracks in a sequence."""
        self.counts.update(raw.names)
        if not sequence:
            return raw
        if frame.image.shape[2] == 3:
            self._tracker.move(self._motion.shift(frame.image))
        numbers = self._tracker.update(raw.boxes, raw.scores, raw.classes, frame.time_s)
        return replace(raw, tracks=numbers)
