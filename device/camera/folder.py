"""Frames from image files: those of a folder in the order of their names, or one file."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from alula.device.camera.source import Frame, SourceBase
from alula.runtime.data.image import check_alpha, read_image
from alula.runtime.data.listing import list_images
from alula.runtime.data.opencv import opencv
from alula.runtime.errors import SourceError
from alula.runtime.files import printable


class ImageFolder(SourceBase):
    """The images of a folder, or one image; digits in the names sort as numbers: `frame2.png` comes before `frame10.png`.

    sequence : they are frames of a video, at `fps`; else each is looked at alone
    alpha    : white, black or drop: what transparent images are laid over
    channels : 3, or 1 for networks that see grey
    raise    : SourceError if there is no such folder or file, no image in it, or not one that can be read
    """

    def __init__(
        self, place: str | Path, fps: float = 1.0, sequence: bool = False, alpha: str = "white", channels: int = 3
    ) -> None:
        super().__init__(str(place), live=False, sequence=sequence)
        opencv("images")
        check_alpha(alpha)
        self.fps, self._alpha, self._channels = fps, alpha, channels
        place = Path(place)
        if place.is_dir():
            self._paths = sorted(list_images(place, self.left_out), key=_natural)
        elif place.is_file():
            self._paths = [place]
        else:
            raise SourceError(f"{self.name}: expected a folder of images, got no such folder; check the path")
        if not self._paths:
            raise SourceError(
                f"{self.name}: expected images, got none among {len(self.left_out)} files; check the folder"
            )

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        why = ""
        for index, path in enumerate(self._paths):
            name = printable(path.name)
            try:
                image = read_image(path, self._channels, self._alpha)
            except ValueError as error:
                self.counts.unreadable += 1
                self.damaged[name] = why = str(error)
                continue
            yield self._deliver(image, index, index / self.fps, time.monotonic(), name)
        if self.counts.delivered == 0:
            raise SourceError(
                f"{self.name}: expected images, got {len(self._paths)} files of which none can be read; the last is {why}"
            )


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part.lower()) for part in parts]
