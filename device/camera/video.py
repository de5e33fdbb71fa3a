"""Frames from a video file, in order, none skipped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alula.device.camera.container import is_whole
from alula.device.camera.source import Frame, SourceBase
from alula.runtime.data.image import as_bgr
from alula.runtime.data.opencv import opencv
from alula.runtime.errors import SourceError
from alula.runtime.files import check_file

# A decoder that fails this often in a row has come to the end of what it can read.
FAILURES_IN_A_ROW = 30


class VideoFile(SourceBase):
    """A video file, read with OpenCV.

    raise : SourceError if there is no such file, if it is no video, or if not one frame of it can be read
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(str(path), live=False)
        cv2 = opencv("a video file")
        if not Path(path).is_file():
            raise SourceError(f"{self.name}: expected a video file, got no such file; check the path")
        check_file(Path(path), by_name=True)
        self._cv2, self._path = cv2, Path(path)
        self._capture: Any = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"{self.name}: expected a video, got {Path(path).stat().st_size} bytes that no decoder here reads; "
                "is the file whole? MP4, AVI, MKV and WebM are read"
            )
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0.0 < fps < 1000.0 else 25.0
        self._claimed = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __len__(self) -> int:
        return self._claimed

    def __iter__(self) -> Iterator[Frame]:
        index = failures = 0
        time_s = -1.0
        while failures < FAILURES_IN_A_ROW:
            got, raw = self._capture.read()
            image = as_bgr(raw) if got else None
            if image is not None:
                index, failures = index + failures, 0
                # The container's clock where it runs forward (a phone's frame rate is not constant), else the count.
                stamped_s = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000.0
                time_s = stamped_s if stamped_s > time_s else max(time_s, index / self.fps)
                yield self._deliver(image, index, time_s, time.monotonic())
                index += 1
            elif got or index + failures < self._claimed:
                failures += 1
            else:
                break
        if self.counts.delivered == 0:
            raise SourceError(
                f"{self.name}: expected frames, got a video in which none can be read; is the file whole?"
            )
        self.counts.unreadable = self._lost()

    def _lost(self) -> int:
        """Broken packets that the decoder skipped, and the end of a recording that was cut short.

        Many containers state no number of frames, and OpenCV estimates one from the duration. Of a whole file the packets
        are the truth.
        """
        if self._claimed <= self.counts.delivered:
            return 0
        promised = count_packets(self._path) if is_whole(self._path) else self._claimed
        return max(0, promised - self.counts.delivered)

    def close(self) -> None:
        """Release the decoder."""
        self._capture.release()


def count_packets(path: Path) -> int:
    """How many packets, which are frames, the video stream of a file has; reads the file, decodes nothing."""
    cv2 = opencv("a video file")
    packets = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    count = 0
    while packets.grab():
        count += 1
    packets.release()
    return count
