"""A copy of the video with boxes and readings drawn on it, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alula.device.camera.source import Frame, Image
from alula.device.camera.video import count_packets
from alula.device.tasks.painting import Paint
from alula.device.tasks.track import Sighting, Track
from alula.runtime.data.opencv import opencv
from alula.runtime.errors import SourceError
from alula.runtime.files import check_name, printable
from alula.runtime.graph import Array

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
GREEN, GREY, BLACK = (60, 220, 60), (160, 160, 160), (0, 0, 0)  # blue green red
MIN_SIDE, MAX_SIDE = 16, 4096  # of the video, pixels: what the encoders take


class AnnotatedVideo:
    """Give its `watch` to `Spotter.run`: boxes are green where they were read whole, grey at the image's edge. Or give it
    frames with lines of text, or with boxes and their labels.

    fps  : of the frames that are given; 10 if it is not above 0
    live : frames were lost while others were looked at: each stays until the next one's time

    The video has the size of its first frame, up to MAX_SIDE. Frames of another size are scaled to fit, with black borders.

    frames : written so far, repetitions included
    fitted : of them, those of another size
    raise  : SourceError if the suffix is none of .mp4 and .avi, or if the file cannot be written; at the end of a `with`, if the
             file has not all frames
    """

    def __init__(self, path: str | Path, fps: float, live: bool = False) -> None:
        self._cv2 = opencv("an annotated video")
        self._path, self._name = Path(path), printable(path)
        self._fps, self._live = fps if fps > 0 else 10.0, live
        self._last: Image | None = None  # as it was drawn
        self._began_s = 0.0
        self._writer: Any = None
        self._size = (0, 0)  # width, height
        self.frames = self.fitted = 0
        check_name(path)
        if self._path.suffix.lower() not in CODECS:
            raise SourceError(
                f"{self._name}: expected a name that ends in {' or '.join(CODECS)}, got {self._path.suffix or 'none'}"
            )
        if not self._path.absolute().parent.is_dir():
            raise SourceError(f"{self._name}: expected a folder to write to, got no such folder; make it first")

    def watch(self, frame: Frame, seen: list[tuple[Track, Sighting]]) -> None:
        """Draw one frame and add it to the video."""
        cv2 = self._cv2
        image, scale, corner = self._begun(frame)
        for track, sighting in seen:
            colour = GREEN if sighting.whole else GREY
            quad = sighting.quad * np.float32(scale) + np.array(corner, np.float32)
            cv2.polylines(image, [np.round(quad).astype(np.int32)], True, colour, 2, cv2.LINE_AA)
            left, top = int(quad[:, 0].min()), int(quad[:, 1].min())
            self._write_text(image, f"{track.number} {track.text()}", (max(2, left), max(14, top - 5)), colour)
        self._add(image, frame)

    def watch_boxes(self, frame: Frame, boxes: Array, labels: Sequence[str], paint: Paint | None = None) -> None:
        """Draw boxes (N, 4) of left, top, right, bottom, each with its label, and add the frame to the video.

        paint : draws what lies under the boxes
        """
        cv2 = self._cv2
        image, scale, (x, y) = self._begun(frame)
        if paint is not None:
            paint(image, scale, (x, y))
        for box, label in zip(boxes, labels, strict=True):
            left, top, right, bottom = (
                round(float(edge) * scale) + shift for edge, shift in zip(box, (x, y, x, y), strict=True)
            )
            cv2.rectangle(image, (left, top), (right, bottom), GREEN, 2, cv2.LINE_AA)
            self._write_text(image, label, (max(2, left), max(14, top - 5)), GREEN)
        self._add(image, frame)

    def watch_lines(self, frame: Frame, lines: Sequence[str]) -> None:
        """Write lines in the upper left corner of one frame, the first one green, and add it to the video."""
        image, _, _ = self._begun(frame)
        for number, line in enumerate(lines):
            self._write_text(image, line, (6, 18 + 18 * number), GREEN if number == 0 else GREY)
        self._add(image, frame)

    def _begun(self, frame: Frame) -> tuple[Image, float, tuple[int, int]]:
        """A copy of a frame to draw on, as `_fit` gives it."""
        pixels = frame.image if frame.image.shape[2] == 3 else np.repeat(frame.image, 3, axis=2)
        if self._writer is None:
            self._open(pixels.shape[1], pixels.shape[0])
        return self._fit(pixels)

    def _write_text(self, image: Image, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
        cv2 = self._cv2
        label = text.encode("ascii", "replace").decode()  # OpenCV's drawn letters are ASCII; others are question marks
        for thickness, ink in ((4, BLACK), (1, colour)):
            cv2.putText(image, label, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, thickness, cv2.LINE_AA)

    def _add(self, image: Image, frame: Frame) -> None:
        if self._last is None:
            self._began_s = frame.time_s
        elif self._live:
            while self.frames + 0.5 < (frame.time_s - self._began_s) * self._fps:
                self._write(self._last)
        self._last = image
        self._write(image)

    def _write(self, image: Image) -> None:
        self._writer.write(image)
        self.frames += 1

    def note(self) -> str:
        """What there is to say about frames of several sizes, or ""."""
        if not self.fitted:
            return ""
        width, height = self._size
        return f"{self._name}: {self.fitted} of {self.frames} frames had another size and were scaled to fit {width}x{height}"

    def _fit(self, image: Image) -> tuple[Image, float, tuple[int, int]]:
        """A copy of the video's size; the factor from image to copy, and where the image's corner is there (x, y)."""
        height, width = image.shape[:2]
        if (width, height) == self._size:
            return np.array(image, order="C"), 1.0, (0, 0)
        self.fitted += 1
        scale = min(self._size[0] / width, self._size[1] / height)
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        kind = self._cv2.INTER_AREA if scale < 1 else self._cv2.INTER_LINEAR
        scaled = self._cv2.resize(np.ascontiguousarray(image), shape, interpolation=kind)
        left, top = (self._size[0] - shape[0]) // 2, (self._size[1] - shape[1]) // 2
        canvas = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        canvas[top : top + shape[1], left : left + shape[0]] = scaled
        return canvas, scale, (left, top)

    def _open(self, width: int, height: int) -> None:
        cv2 = self._cv2
        scale = min(1.0, MAX_SIDE / max(width, height))
        self._size = (max(MIN_SIDE, round(width * scale)), max(MIN_SIDE, round(height * scale)))
        fourcc = cv2.VideoWriter_fourcc(*CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._path), fourcc, self._fps, self._size)
        if not self._writer.isOpened():
            raise SourceError(
                f"{self._name}: expected a file that can be written, got a refusal; check space and rights"
            )

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.close()
        # OpenCV's writer says nothing of a frame that it could not write
        if kind is None and self._writer is not None and (written := count_packets(self._path)) < self.frames:
            raise SourceError(
                f"{self._name}: expected {self.frames} frames, got {written} in the file; is the disk full?"
            )
