"""The thread that samples: keeps to a period, moves each instant at random, and knows what it costs."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

# Of a period, to both sides: a load that repeats (mains, a camera) must not hide between readings that are as regular.
JITTER = 0.25
STUCK_S = 2.0


class Sampler:
    """Calls `sample` once a period, and `save` once in a while. What it missed it skips.

    period_s : mean time between two calls
    cpu_s    : processor time of the thread so far
    """

    def __init__(
        self, period_s: float, sample: Callable[[], object], save: Callable[[], object], save_every_s: float
    ) -> None:
        self.period_s, self.cpu_s = period_s, 0.0
        self._sample, self._save, self._save_every_s = sample, save, save_every_s
        self._stop = threading.Event()
        self._random = random.Random()
        self.thread = threading.Thread(target=self._run, name="energy-log", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def stop(self) -> str:
        """End, and wait for the call that is under way, STUCK_S at most. return: what went wrong, or ''"""
        self._stop.set()
        if not self.thread.is_alive():
            return "the sampler thread died early; the time after it is a gap"
        self.thread.join(STUCK_S)
        return f"a read takes over {STUCK_S:g} s; left behind" if self.thread.is_alive() else ""

    @property
    def is_stuck(self) -> bool:
        """Whether a call is still under way after the end."""
        return self._stop.is_set() and self.thread.is_alive()

    def _run(self) -> None:
        next_s = saved_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            next_s = max(next_s + self.period_s, now_s)
            moved_s = self._random.uniform(-JITTER, JITTER) * self.period_s
            if self._stop.wait(max(next_s + moved_s - now_s, 0.0)):
                return
            self._sample()
            self.cpu_s = time.thread_time()
            if time.monotonic() - saved_s >= self._save_every_s:
                self._save()
                saved_s = time.monotonic()
