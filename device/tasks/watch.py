"""What all tasks on frames have in common: look at one frame of a source after the other, and say what was seen.

watch = ClassWatch(model.classifier())
for seen in watch.run(open_source("flight.mp4")):
    print(seen.frame.time_s, seen.answer.results())
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from alula.device.camera.source import Frame, FrameSource
from alula.device.tasks.log import Log, NoLog
from alula.runtime.errors import NoAnswerError, SourceError

if TYPE_CHECKING:
    from alula.device.camera.source import Image
    from alula.runtime.tasks.predictor import Answer

Raw = TypeVar("Raw")  # what a network says of a frame alone
Said = TypeVar("Said", bound="Answer")  # what is said of it in the end


@dataclass(frozen=True, eq=False)
class Seen(Generic[Said]):
    """A frame and what it shows. took_ms : preprocessing and network"""

    task: str
    frame: Frame
    answer: Said
    took_ms: float

    def as_json(self) -> str:
        """One line of a JSON Lines file (docs/classes.md)."""
        return json.dumps(self.document(), ensure_ascii=False)

    def document(self) -> dict[str, Any]:
        """The same as plain values."""
        frame = self.frame
        return {"task": self.task, "frame": frame.index, "time_s": round(frame.time_s, 3), "image": frame.name,
                "results": self.answer.results()}  # fmt: skip


class Watch(ABC, Generic[Raw, Said]):
    """Looks at the frames of one source. A task says how it looks at a frame, and what it makes of it among others.

    task  : its name, in lines and in the energy log
    every : one of `every` frames is looked at
    log   : told of phases and frames

    counts, frames : how often each name was seen, in how many frames
    unanswered     : of these frames, those of which the network said nothing; why : of the last of them
    """

    task: str

    def __init__(self, every: int = 1, log: Log | None = None) -> None:
        self._every = every
        self._log: Log = log or NoLog()
        self.counts: Counter[str] = Counter()
        self.frames = self.unanswered = 0
        self.why = ""

    @abstractmethod
    def look(self, image: Image) -> Raw:
        """What an image shows, alone."""

    @abstractmethod
    def settle(self, raw: Raw, frame: Frame, sequence: bool) -> Said:
        """What is said of a frame; it may remember others. sequence : frames follow each other in time"""

    @abstractmethod
    def silence(self) -> Said:
        """What is said of a frame of which the network said nothing."""

    def run(self, source: FrameSource, frames: int | None = None) -> Iterator[Seen[Said]]:
        """Look at a source until it ends, or until so many frames have been looked at.

        raise : SourceError if the source gives not one frame; NoAnswerError if the network says nothing of the only one
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
            with self._log.phase(self.task):
                try:
                    raw = self.look(frame.image)
                except NoAnswerError as error:
                    if not source.sequence and len(source) == 1:
                        raise
                    raw, self.why = None, str(error)
            took_ms = 1e3 * (time.perf_counter() - began_s)
            self.unanswered += raw is None
            answer = self.silence() if raw is None else self.settle(raw, frame, source.sequence)
            self.frames += 1
            self._log.count("frame")
            yield Seen(self.task, frame, answer, took_ms)
        if delivered == 0:
            raise SourceError(f"{source.name}: expected frames, got none; is the source empty?")
