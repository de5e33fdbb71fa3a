"""The threads that run programs: the caller and `n - 1` workers in the virtual machine, outside the GIL."""

from __future__ import annotations

import atexit
import os
import threading
from functools import lru_cache

import numpy as np

from alula.runtime.compiler.loader import library
from alula.runtime.errors import GraphError
from alula.runtime.kernels.vm import SHARES

MAX_THREADS = 256

_teams: list[Team] = []


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked_threads(threads: int | None) -> int:
    """A number of threads that can be had; all cores if None.

    raise : GraphError
    """
    if threads is None:
        return cores()
    if not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise GraphError(
            f"threads: expected a whole number from 1 to {MAX_THREADS}, got {threads!r}; leave it out for all cores"
        )
    return threads


class Team:
    """`n_threads` threads that run one program at a time."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self.lock = threading.Lock()
        n_words = SHARES + 8 * n_threads
        raw = np.zeros(n_words + 8, np.int64)
        skip = -raw.ctypes.data % 64 // 8
        self.state = raw[skip : skip + n_words]  # cache-line aligned
        self._raw = raw
        kernels = library()
        self._run, self._stop = kernels.function("vm_run"), kernels.function("vm_stop")
        worker = kernels.function("vm_worker")
        self._worker_words = np.array([self.state.ctypes.data], np.int64)
        self._words = np.array([0, 0, self.state.ctypes.data], np.int64)
        self._words_at = self._words.ctypes.data
        self.workers = [
            threading.Thread(target=worker, args=(self._worker_words.ctypes.data, tid, n_threads), daemon=True)
            for tid in range(1, n_threads)
        ]
        for thread in self.workers:
            thread.start()

    def run(self, table: int, length: int) -> None:
        """Run `length` instructions at address `table`."""
        self._words[0], self._words[1] = table, length
        self._run(self._words_at, 0, self.n_threads)

    def stop(self) -> None:
        """Stop the workers."""
        if self.workers:
            words = np.array([self.state.ctypes.data], np.int64)
            self._stop(words.ctypes.data, 0, self.n_threads)
            for thread in self.workers:
                thread.join()
            self.workers = []


@lru_cache(maxsize=16)
def _team(n_threads: int, process: int) -> Team:
    team = Team(n_threads)
    _teams.append(team)
    return team


def team(n_threads: int) -> Team:
    """The team of that size; it is shared by all models of this process (threads do not survive a fork)."""
    return _team(n_threads, os.getpid())


@atexit.register
def _stop_all() -> None:
    for each in _teams:
        if each.n_threads > 1 and all(thread.is_alive() for thread in each.workers):
            each.stop()
