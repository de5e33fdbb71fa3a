"""Time two engines fairly on a busy machine: alternating blocks in one process, medians, and the peak.

A round is a block of runs of one, a rest, a block of the other, a rest; the order changes from round to round. During
a rest, spinning threads go to sleep, so neither engine slows down the other. A round gives one ratio;
the result is the median of the rounds' ratios.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from alula.runtime.compiler import library
from alula.runtime.kernels.tiles import for_cpu

REST_S = 0.03
FEWEST_RUNS = 3
FMA_CHAINS = 16  # independent multiply-adds in flight in the kernel f32_peak


@dataclass(frozen=True)
class Race:
    """What a race found. `ratio` above 1: ours is faster by that factor."""

    ours_ms: float
    theirs_ms: float
    ratio: float
    ratios: tuple[float, ...]  # of each round


def race(ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 11, block_s: float = 0.15) -> Race:
    """Run both alternately.

    rounds  : how many ratios the median is taken of
    block_s : how long a block of runs lasts, about
    """
    runs = {run: _runs_per_block(run, block_s) for run in (ours, theirs)}
    times: dict[Callable[[], object], list[float]] = {ours: [], theirs: []}
    for number in range(rounds):
        for run in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            times[run].append(_block(run, runs[run]))
            time.sleep(REST_S)
    ratios = tuple(t / o for o, t in zip(times[ours], times[theirs]))
    return Race(median(times[ours]) * 1e3, median(times[theirs]) * 1e3, median(ratios), ratios)


def solo_ms(run: Callable[[], object], rounds: int = 11, block_s: float = 0.15) -> float:
    """The median time of one run, without a rival."""
    runs = _runs_per_block(run, block_s)
    return median(_block(run, runs) for _ in range(rounds)) * 1e3


def _runs_per_block(run: Callable[[], object], block_s: float) -> int:
    run()
    start = time.perf_counter()
    run()
    return max(FEWEST_RUNS, int(block_s / max(time.perf_counter() - start, 1e-6)))


def _block(run: Callable[[], object], runs: int) -> float:
    """The median of a block's runs, in seconds; the first one wakes the threads and is not counted."""
    run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


def peak_gflops(threads: int = 1, tries: int = 5, seconds: float = 0.03) -> float:
    """The fastest multiply-add rate of `threads` cores together: a kernel that does nothing else, best of some tries.

    return : 10^9 float32 operations per second, a multiply-add counting as two
    """
    width = for_cpu(library().cpu).width
    kernel = library().function("f32_peak")
    results = [np.zeros(FMA_CHAINS * width, np.float32) for _ in range(threads)]
    rounds = 1 << 16

    def go(thread: int, start: threading.Barrier) -> None:
        words = np.array([results[thread].ctypes.data, rounds], np.int64)
        start.wait()
        kernel(words.ctypes.data, 0, 1)  # leaves the GIL

    def once() -> float:
        start = threading.Barrier(threads + 1)
        workers = [threading.Thread(target=go, args=(i, start)) for i in range(threads)]
        for worker in workers:
            worker.start()
        start.wait()
        begin = time.perf_counter()
        for worker in workers:
            worker.join()
        return time.perf_counter() - begin

    while (took := once()) < seconds:
        rounds = max(rounds * 2, int(rounds * 1.2 * seconds / max(took, 1e-6)))
    best = min(once() for _ in range(tries))
    return threads * rounds * FMA_CHAINS * width * 2 / best / 1e9
