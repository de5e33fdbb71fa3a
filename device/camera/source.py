"""Protocol of all image sources: an iterator of frames, and counts of the frames that were lost.

    with open_source("flight.mp4") as source:
        for frame in source:
            frame.image   # (H, W, 3) uint8, blue green red: OpenCV's order
        source.counts       # delivered, dropped, unreadable

A source that cannot be opened, or never gives an image, raises SourceError. An unreadable frame in the middle is
counted and skipped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from alula.runtime.errors import require

Image = NDArray[np.uint8]

# OpenCV and its decoders talk on stderr about every broken packet. What goes wrong we count and say, in one line.
# They look at the environment once, when they are loaded.
QUIET = {"OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "SILENT", "OPENCV_VIDEOIO_LOG_LEVEL": "SILENT"}


@dataclass(frozen=True, eq=False)
class Frame:
    """One image and when it was taken.

    image  : (H, W, 3) uint8, blue green red
    index    : number of the frame in its source, from 0; frames that were lost have numbers too
    time_s   : position in the recording, or seconds since a camera was opened
    taken_s  : `time.monotonic()` when the image reached this process
    """

    image: Image
    index: int
    time_s: float
    taken_s: float

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
    """A video file, a folder or a camera. `live` is true where waiting costs frames."""

    name: str
    live: bool
    fps: float
    counts: Counts

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

    def __init__(self, name: str, live: bool) -> None:
        self.name = name
        self.live = live
        self.fps = 0.0
        self.counts = Counts()

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _deliver(self, image: Image, index: int, time_s: float, taken_s: float) -> Frame:
        frame = Frame(image, index, time_s, taken_s)
        self.counts.delivered += 1
        self.counts.oldest_s = max(self.counts.oldest_s, frame.age_s())
        return frame


def opencv(purpose: str) -> ModuleType:
    """OpenCV, or an error that names the extra."""
    for name, level in QUIET.items():
        os.environ.setdefault(name, level)
    return require("cv2", "vision", purpose)


def is_image(image: object) -> bool:
    """True for (H, W, 3) uint8 with something in it."""
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size > 0
    )
