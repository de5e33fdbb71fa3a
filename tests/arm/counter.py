"""The guest's side of counter.c: what a board's process counts of itself, under qemu-aarch64 with the plugin."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

# In the order of `enum counter`. `process` is every instruction; the others are the region's; the last four need `l1=`
NAMES = (
    "process", "all", "loads", "stores", "simd", "multiply_add", "branches",
    "load_bytes", "store_bytes", "l1_misses", "l2_misses",
)  # fmt: skip
COUNTER_CALL = 0x7A11
REGION, READ, EMPTY_CACHES = range(3)
TRIES, SLACK_RATIO = 4, 0.01

Counts = dict[str, int]

_syscall = ctypes.CDLL(None).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long] * 4
_buffer = (ctypes.c_uint64 * len(NAMES))()


def set_region(low: int, high: int) -> None:
    """Count code in [low, high) that was not executed before; the plugin needs `region=later`."""
    _syscall(COUNTER_CALL, REGION, low, high)


def code_of(path: Path) -> tuple[int, int]:
    """Where the instructions of a loaded shared object lie."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and "x" in fields[1] and Path(fields[5]).name == path.name:
            low, _, high = fields[0].partition("-")
            return int(low, 16), int(high, 16)
    raise LookupError(f"{path}: expected it among the loaded objects, got none of that name; load it first")


def read() -> Counts:
    """The counters as they are; they are never reset, so subtract."""
    _syscall(COUNTER_CALL, READ, ctypes.addressof(_buffer), 0)
    return dict(zip(NAMES, _buffer, strict=True))


def empty_caches() -> None:
    """Forget what the modelled caches hold."""
    _syscall(COUNTER_CALL, EMPTY_CACHES, 0, 0)


def of_region(run: Callable[[], object]) -> Counts:
    """What the region does in one call. Nothing of Python is in a region of kernels, so nothing is subtracted."""
    before = read()
    run()
    return _minus(read(), before)


def per_run(run: Callable[[], object], runs: int = 1, warm: int = 1) -> Counts:
    """What one call costs the whole process: `runs` of them subtracted from twice as many, after some that warm up.

    So what is done once, and the counting itself, cancel out. A thread that wakes up meanwhile makes the counters lose
    what was added at that moment; then twice as many runs are not twice the count, and it is done again.
    raise : RuntimeError if that never comes out
    """
    gc.disable()
    try:
        for _ in range(warm):
            run()
        for _ in range(TRIES):
            start = read()
            for _ in range(runs):
                run()
            middle = read()
            for _ in range(2 * runs):
                run()
            once, twice = _minus(middle, start), _minus(read(), middle)
            if abs(twice["process"] - 2 * once["process"]) <= SLACK_RATIO * twice["process"]:
                return {name: (twice[name] - once[name]) // runs for name in NAMES}
    finally:
        gc.enable()
    raise RuntimeError(
        f"counter: expected {2 * runs} runs to be twice as much as {runs}, got {twice['process']:,} and "
        f"{once['process']:,} instructions; is another thread running?"
    )


def _minus(a: Counts, b: Counts) -> Counts:
    return {name: a[name] - b[name] for name in NAMES}
