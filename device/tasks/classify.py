"""Classes in images: of each image alone, or smoothed over the time of a video.

watch = ClassWatch(model.classifier(), smoothing_s=0.5)
for seen in watch.run(open_source("flight.mp4")):
    print(seen.frame.time_s, seen.answer.name, seen.answer.probability)
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alula.device.camera.source import Frame, FrameSource
from alula.device.tasks.log import Log, NoLog
from alula.runtime.errors import SourceError

if TYPE_CHECKING:
    from alula.runtime.graph import Array
    from alula.runtime.tasks.classify import Classification, Classifier

SMOOTHING_S = 0.5  # of a video: what was seen so long ago counts 1/e


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame and its classes. took_ms : preprocessing and network"""

    frame: Frame
    answer: Classification
    took_ms: float

    def as_json(self) -> str:
        """One line of a JSON Lines file (docs/classes.md)."""
        return json.dumps(self.document(), ensure_ascii=False)

    def document(self) -> dict[str, Any]:
        """The same as plain values."""
        frame = self.frame
        return {"task": "classify", "frame": frame.index, "time_s": round(frame.time_s, 3), "image": frame.name,
                "results": self.answer.results()}  # fmt: skip


class ClassWatch:
    """Looks at the frames of one source.

    top         : how many classes an answer names
    every       : one of `every` frames is looked at
    smoothing_s : over which the probabilities of a sequence are averaged; 0: each frame alone
    log         : told of phases and frames

    best, frames : how often each class was the best, of how many frames
    """

    def __init__(
        self,
        classifier: Classifier,
        top: int = 5,
        every: int = 1,
        smoothing_s: float = SMOOTHING_S,
        log: Log | None = None,
    ) -> None:
        self._classifier, self._top, self._every, self._smoothing_s = classifier, top, every, smoothing_s
        self._log: Log = log or NoLog()
        self._mean: Array | None = None
        self._last_s = 0.0
        self.best: Counter[str] = Counter()
        self.frames = 0

    def run(self, source: FrameSource, frames: int | None = None) -> Iterator[Seen]:
        """Look at a source until it ends, or until so many frames have been looked at.

        raise : SourceError if the source gives not one frame
        """
        iterator, delivered = iter(source), 0
        while frames is None or self.frames < frames:
            with self._log.phase("capture"):
                frame = next(iterator, None)
            if frame is None:
                break
            delivered += 1
            if (delivered - 1) % self._every:
                continue
            began_s = time.perf_counter()
            with self._log.phase("classify"):
                shares = self._classifier(frame.image)
            took_ms = 1e3 * (time.perf_counter() - began_s)
            if source.sequence and self._smoothing_s > 0:
                shares = self._smoothed(shares, frame.time_s)
            answer = self._classifier.answer(shares, self._top)
            self.best[answer.name] += 1
            self.frames += 1
            self._log.count("frame")
            yield Seen(frame, answer, took_ms)
        if delivered == 0:
            raise SourceError(f"{source.name}: expected frames, got none; is the source empty?")

    def _smoothed(self, shares: Array, time_s: float) -> Array:
        """The mean of what was seen, weighted with exp(-age / smoothing_s)."""
        if self._mean is not None:
            kept = math.exp(-max(time_s - self._last_s, 0.0) / self._smoothing_s)
            shares = kept * self._mean + (1 - kept) * shares
        self._mean, self._last_s = shares, time_s
        return shares
