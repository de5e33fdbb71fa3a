"""Classes in images: of each image alone, or smoothed over the time of a video."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from alula.device.tasks.watch import Watch
from alula.runtime.tasks.classify import Classification

if TYPE_CHECKING:
    from alula.device.camera.source import Frame, Image
    from alula.device.tasks.log import Log
    from alula.runtime.graph import Array
    from alula.runtime.tasks.classify import Classifier

SMOOTHING_S = 0.5  # of a video: what was seen so long ago counts 1/e


class ClassWatch(Watch["Array", "Classification"]):
    """Names the classes in the frames of one source; counts how often each was the best.

    top         : how many classes an answer names
    every, log  : as in `Watch`
    smoothing_s : over which the probabilities of a sequence are averaged; 0: each frame alone
    """

    task = "classify"

    def __init__(
        self,
        classifier: Classifier,
        top: int = 5,
        every: int = 1,
        smoothing_s: float = SMOOTHING_S,
        log: Log | None = None,
    ) -> None:
        super().__init__(every, log)
        self._classifier, self._top, self._smoothing_s = classifier, top, smoothing_s
        self._mean: Array | None = None
        self._last_s = 0.0

    def look(self, image: Image) -> Array:
        """Probabilities of the classes."""
        return self._classifier(image)

    def settle(self, raw: Array, frame: Frame, sequence: bool) -> Classification:
        """The best classes."""
        if sequence and self._smoothing_s > 0:
            raw = self._smoothed(raw, frame.time_s)
        answer = self._classifier.answer(raw, self._top)
        self.counts[answer.name] += 1
        return answer

    def silence(self) -> Classification:
        """No class; the mean of the others stays."""
        return Classification((), (), (), np.zeros(0))

    def _smoothed(self, shares: Array, time_s: float) -> Array:
        """The mean of what was seen, weighted with exp(-age / smoothing_s)."""
        if self._mean is not None:
            kept = math.exp(-max(time_s - self._last_s, 0.0) / self._smoothing_s)
            shares = kept * self._mean + (1 - kept) * shares
        self._mean, self._last_s = shares, time_s
        return shares
