"""Frames from a folder of images, sorted by name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alula.device.camera.source import Frame, SourceBase, is_image, opencv
from alula.runtime.errors import SourceError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


class ImageFolder(SourceBase):
    """The images of a folder; digits in the names sort as numbers: `frame2.png` comes before `frame10.png`.

    raise : SourceError if there is no such folder, no image in it, or not one that can be read
    """

    def __init__(self, folder: str | Path, fps: float = 1.0) -> None:
        super().__init__(str(folder), live=False)
        self._cv2 = opencv("a folder of images")
        self.fps = fps
        if not Path(folder).is_dir():
            raise SourceError(f"{folder}: expected a folder of images, got no such folder; check the path")
        files = (path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
        self._paths = sorted(files, key=_natural)
        if not self._paths:
            raise SourceError(f"{folder}: expected images ({', '.join(sorted(SUFFIXES))}), got none; check the folder")

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            image = self._read(path)
            if image is None:
                self.counts.unreadable += 1
                continue
            yield self._deliver(image, index, index / self.fps, time.monotonic())
        if self.counts.delivered == 0:
            raise SourceError(f"{self.name}: expected images, got {len(self._paths)} files of which none can be read")

    def _read(self, path: Path) -> np.ndarray | None:
        # Not imread: it warns on stderr about a broken file, and knows nothing of an OSError.
        try:
            encoded = np.fromfile(path, np.uint8)
        except OSError:
            return None
        image = self._cv2.imdecode(encoded, self._cv2.IMREAD_COLOR) if encoded.size else None
        return image if is_image(image) else None


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part.lower()) for part in parts]
