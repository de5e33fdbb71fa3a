"""Frames from a camera or a network stream: the latest frame wins, older unread frames are dropped and counted.

A separate thread empties the driver's queue. Otherwise a slow reader would see images that are seconds old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from alula.device.camera.source import Frame, Image, SourceBase
from alula.runtime.data.image import as_bgr
from alula.runtime.data.opencv import opencv
from alula.runtime.errors import SourceError

UNREADABLE_PAUSE_S = 0.01


class LiveCamera(SourceBase):
    """A camera by index (V4L2), by device path, or a stream by URL.

    timeout_s : give up when no new frame has come for so long
    capture   : an opened object with OpenCV's `read`, `get` and `release`, in place of a device (replays, tests)
    raise     : SourceError if it cannot be opened, or when it goes silent
    """

    def __init__(self, device: int | str, timeout_s: float = 5.0, capture: Any = None) -> None:
        super().__init__(f"camera {device}" if isinstance(device, int) else device, live=True)
        self._timeout_s = timeout_s
        cv2: Any = opencv("a camera") if capture is None else None
        self._capture: Any = capture if cv2 is None else cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"{self.name}: expected a camera, got nothing that opens; is it plugged in, and may this user read "
                "/dev/video*? For the ribbon-cable cameras of a Raspberry Pi use picamera2"
            )
        if cv2 is not None:
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            self.fps = max(0.0, float(self._capture.get(cv2.CAP_PROP_FPS)))
        self._opened_s = time.monotonic()
        self._fresh = threading.Condition()
        self._latest: tuple[Image, int, float] | None = None
        self._running = True
        self._thread = threading.Thread(target=self._pump, name=f"capture of {self.name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._fresh:
                came = self._fresh.wait_for(lambda: self._latest is not None or not self._running, self._timeout_s)
                latest, self._latest = self._latest, None
                running = self._running
            if latest is not None:
                image, index, taken_s = latest
                yield self._deliver(image, index, taken_s - self._opened_s, taken_s)
            elif not running:
                return
            elif not came:
                raise SourceError(
                    f"{self.name}: expected a frame within {self._timeout_s:g} s, got none "
                    f"({self.counts.unreadable} unreadable); check the cable"
                )

    def _pump(self) -> None:
        index = 0
        while self._running:
            got, raw = self._capture.read()
            image = as_bgr(raw) if got else None
            taken_s = time.monotonic()
            with self._fresh:
                if image is None:
                    self.counts.unreadable += 1
                else:
                    if self._latest is not None:
                        self.counts.dropped += 1
                    self._latest = (image, index, taken_s)
                    self._fresh.notify()
            index += 1
            if not got:
                time.sleep(UNREADABLE_PAUSE_S)

    def close(self) -> None:
        """Stop the thread and release the camera."""
        with self._fresh:
            self._running = False
            self._fresh.notify_all()
        self._thread.join(self._timeout_s)
        if not self._thread.is_alive():  # a driver that hangs in read() keeps its handle: releasing it would crash
            self._capture.release()
