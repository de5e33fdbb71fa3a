"""Protocol of all image sources: an iterator of frames, and counts of the frames that were lost.

    with open_source("flight.mp4") as source:
        for frame in source:
            frame.image   # (H, W, 3) uint8, blue green red: OpenCV's order
        source.counts       # delivered, dropped, unreadable

A source that cannot be opened, or never gives an image, raises SourceError. An unreadable frame in the middle is
counted and skipped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from alula.runtime.files import printable

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Frame:
    """One image and when it was taken.

    image  : (H, W, 3) uint8, blue green red; (H, W, 1) of a folder that is read in grey
    index    : number of the frame in its source, from 0; frames that were lost have numbers too
    time_s   : position in the recording, or seconds since a camera was opened
    taken_s  : `time.monotonic()` when the image reached this process
    name     : of its file, for one of a folder's
    """

    image: Image
    index: int
    time_s: float
    taken_s: float
    name: str = ""

    def age_s(self, now_s: float | None = None) -> float:
        """Seconds since the image was taken."""
        return (time.monotonic() if now_s is None else now_s) - self.taken_s


@dataclass
class Counts:
    """What became of the frames so far: delivered + dropped + unreadable is what the source produced."""

    delivered: int = 0
    dropped: int = 0
    unreadable: int = 0
    oldest_s: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """For a log or a report; `oldest_s` is the maximum age of a frame at delivery."""
        return dict(vars(self))


@runtime_checkable
class FrameSource(Protocol):
    """A video file, a folder or a camera.

    live     : waiting costs frames
    sequence : the frames follow each other in time; false of images that have nothing to do with each other
    damaged  : file of an image -> why it could not be read
    left_out : what else lay in a folder -> why it is none of its images
    """

    name: str
    live: bool
    sequence: bool
    fps: float
    counts: Counts
    damaged: dict[str, str]
    left_out: dict[str, str]

    def __iter__(self) -> Iterator[Frame]: ...

    def __enter__(self) -> FrameSource: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __len__(self) -> int:
        """Frames that the source says it holds; 0 if unknown."""
        ...

    def close(self) -> None:
        """Give the device or the file back; more than once is fine."""
        ...


class SourceBase:
    """The context manager and the counts, common to the sources of this package."""

    def __init__(self, name: str, live: bool, sequence: bool = True) -> None:
        self.name = printable(name)
        self.live = live
        self.sequence = sequence
        self.fps = 0.0
        self.counts = Counts()
        self.damaged: dict[str, str] = {}
        self.left_out: dict[str, str] = {}

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _deliver(self, image: Image, index: int, time_s: float, taken_s: float, name: str = "") -> Frame:
        frame = Frame(image, index, time_s, taken_s, name)
        self.counts.delivered += 1
        self.counts.oldest_s = max(self.counts.oldest_s, frame.age_s())
        return frame
