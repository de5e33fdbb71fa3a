"""Things in images: boxes with names, of each image alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alula.device.tasks.watch import Watch

if TYPE_CHECKING:
    from alula.device.camera.source import Frame, Image
    from alula.device.tasks.log import Log
    from alula.runtime.tasks.detect import Detections, Detector


class BoxWatch(Watch["Detections", "Detections"]):
    """Finds things in the frames of one source; counts the boxes of each class.

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

    def look(self, image: Image) -> Detections:
        """The boxes of an image."""
        return self._detector(image, agnostic=self._agnostic, only=self._only)

    def settle(self, raw: Detections, frame: Frame, sequence: bool) -> Detections:
        """The same."""
        self.counts.update(raw.names)
        return raw
