"""The threads that run programs: the caller and `n - 1` workers in the virtual machine, outside the GIL.

A fork copies none of them: in the child a team is renewed, and starts its workers when it next needs them.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from functools import lru_cache

import numpy as np

from alula.runtime.compiler.loader import library
from alula.runtime.errors import GraphError
from alula.runtime.forks import renew_in_children
from alula.runtime.kernels.vm import SHARES

MAX_THREADS = 256
SHORT_ENTRY = ctypes.PYFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)  # a kernel that keeps the GIL

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
    """`n_threads` threads that run one program at a time. The workers start with the first program that needs them."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        n_words = SHARES + 8 * n_threads
        raw = np.zeros(n_words + 8, np.int64)
        skip = -raw.ctypes.data % 64 // 8
        self.state = raw[skip : skip + n_words]  # cache-line aligned
        self._raw = raw
        kernels = library()
        self._run, self._stop = kernels.function("vm_run"), kernels.function("vm_stop")
        self._alone = SHORT_ENTRY(kernels.address("vm_run"))
        self._worker = kernels.function("vm_worker")
        self._worker_words = np.array([self.state.ctypes.data], np.int64)
        self._words = np.array([0, 0, self.state.ctypes.data], np.int64)
        self._words_at = int(self._words.ctypes.data)
        self.renew()

    def renew(self) -> None:
        """As new, without workers: after a fork there are none, and nobody holds the lock."""
        self.lock = threading.Lock()
        self.workers: list[threading.Thread] = []
        self._is_started = self.n_threads == 1
        self.state[:] = 0

    def run(self, table: int, length: int) -> None:
        """Run `length` instructions at address `table`; the caller has the lock."""
        if not self._is_started:
            self._start()
        words = self._words
        words[0], words[1] = table, length
        self._run(self._words_at, 0, self.n_threads)

    def run_alone(self, table: int, length: int) -> None:
        """The same on this thread alone, without letting go of the GIL: for what is done before another thread could wake."""
        words = self._words
        words[0], words[1] = table, length
        self._alone(self._words_at, 0, 1)

    def _start(self) -> None:
        self._is_started = True
        for tid in range(1, self.n_threads):
            words = (int(self._worker_words.ctypes.data), tid, self.n_threads)
            thread = threading.Thread(target=self._worker, args=words, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system allows no more; those that run take all shares
                break
            self.workers.append(thread)

    def stop(self) -> None:
        """Stop the workers."""
        if self.workers:
            words = np.array([self.state.ctypes.data], np.int64)
            self._stop(words.ctypes.data, 0, self.n_threads)
            for thread in self.workers:
                thread.join()
            self.renew()


@lru_cache(maxsize=16)
def team(n_threads: int) -> Team:
    """The team of that size; it is shared by all models of this process."""
    each = Team(n_threads)
    renew_in_children(each)
    _teams.append(each)
    return each


@atexit.register
def _stop_all() -> None:
    for each in _teams:
        if each.n_threads > 1 and all(thread.is_alive() for thread in each.workers):
            each.stop()
