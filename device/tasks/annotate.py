"""A copy of the video with boxes and readings drawn on it, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from alula.device.camera.source import Frame, opencv
from alula.device.tasks.track import Sighting, Track
from alula.runtime.errors import SourceError

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
GREEN, GREY, BLACK = (60, 220, 60), (160, 160, 160), (0, 0, 0)  # blue green red


class AnnotatedVideo:
    """Give its `watch` to `Spotter.run`. Boxes are green where they were read whole, grey at the image's edge.

    raise : SourceError if the suffix is none of .mp4 and .avi, or if the file cannot be written
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self._cv2 = opencv("an annotated video")
        self._path = Path(path)
        self._fps = fps if fps > 0 else 10.0
        self._writer: Any = None
        if self._path.suffix.lower() not in CODECS:
            raise SourceError(
                f"{path}: expected a name that ends in {' or '.join(CODECS)}, got {self._path.suffix or 'none'}"
            )
        if not self._path.absolute().parent.is_dir():
            raise SourceError(f"{path}: expected a folder to write to, got no such folder; make it first")

    def watch(self, frame: Frame, seen: list[tuple[Track, Sighting]]) -> None:
        """Draw one frame and add it to the video."""
        cv2 = self._cv2
        image = frame.image.copy()
        for track, sighting in seen:
            colour = GREEN if sighting.whole else GREY
            cv2.polylines(image, [np.round(sighting.quad).astype(np.int32)], True, colour, 2, cv2.LINE_AA)
            # OpenCV's drawn letters are ASCII; others come out as question marks.
            label = f"{track.number} {track.text()}".encode("ascii", "replace").decode()
            left, top = int(sighting.quad[:, 0].min()), int(sighting.quad[:, 1].min())
            at = (max(2, left), max(14, top - 5))
            for thickness, ink in ((4, BLACK), (1, colour)):
                cv2.putText(image, label, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, thickness, cv2.LINE_AA)
        if self._writer is None:
            self._open(image.shape[1], image.shape[0])
        self._writer.write(image)

    def _open(self, width: int, height: int) -> None:
        cv2 = self._cv2
        fourcc = cv2.VideoWriter_fourcc(*CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._path), fourcc, self._fps, (width, height))
        if not self._writer.isOpened():
            raise SourceError(
                f"{self._path}: expected a file that can be written, got a refusal; check space and rights"
            )

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
