"""How far the ground moved in the image between two frames: phase correlation of small grey copies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alula.device.camera.source import Image
from alula.runtime.data.opencv import opencv

WIDTH, MAX_HEIGHT = 160, 640  # pixels of the small copy
# Straight flight at 9 frames a second gives 0.7 to 0.9, every fourth of these frames 0.3 to 0.7, a rotation below 0.2.
MIN_RESPONSE = 0.25


class Motion:
    """Keeps the last frame. It knows only translation: a rotation, a cut or an image without texture gives no answer."""

    def __init__(self) -> None:
        self._cv2 = opencv("following signs")
        self._last: NDArray[np.float32] | None = None
        self._window: NDArray[np.float32] | None = None

    def shift(self, image: Image) -> tuple[float, float] | None:
        """(x, y) pixels of the image by which the scene moved since the last call; None if unknown."""
        cv2 = self._cv2
        scale = image.shape[1] / WIDTH
        wanted = round(image.shape[0] / scale)
        size = (WIDTH, min(max(8, wanted), MAX_HEIGHT))
        scale_y = scale if size[1] == wanted else image.shape[0] / size[1]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # (H, W) of a grey image
        small = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        current = small.astype(np.float32)
        last, self._last = self._last, current
        if last is None or last.shape != current.shape:
            self._window = cv2.createHanningWindow(size, cv2.CV_32F)
            return None
        (x, y), response = cv2.phaseCorrelate(last, current, self._window)
        if response < MIN_RESPONSE or not np.isfinite((x, y)).all():
            return None
        return float(x) * scale, float(y) * scale_y
