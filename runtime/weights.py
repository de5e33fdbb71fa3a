"""Memory that outlives a run: packed weights, shared by all programs of a model, and the arena of activations."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections import deque
from collections.abc import Callable
from threading import Thread

import numpy as np

from alula.runtime.graph import Array, TensorSpec

ALIGNMENT = 64
TAIL = 64  # kernels may read one vector past the end of an array
POISON = 0xFF  # of each byte: NaN in floats, -1 in integers


def is_checking() -> bool:
    """Whether this process proves its plans and runs on poisoned memory; see `checking.py`."""
    return os.environ.get("ALULA_CHECK", "") not in ("", "0")


def aligned_empty(size: int, dtype: str = "float32") -> Array:
    """A flat array that begins on a cache line, with readable memory behind it."""
    nbytes = size * np.dtype(dtype).itemsize
    raw = np.empty(nbytes + ALIGNMENT + TAIL, np.uint8)
    if is_checking():
        raw[:] = POISON
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes].view(dtype)


def native(array: Array) -> Array:
    """The array in C order and in this machine's order of bytes; itself if it is."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def aligned(array: Array) -> Array:
    """The array in C order, beginning on a cache line; itself if `aligned_empty` made it."""
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0 and _has_tail(array):
        return array
    copy = aligned_empty(array.size, array.dtype.name).reshape(array.shape)
    copy[...] = array
    return copy


def _has_tail(array: Array) -> bool:
    owner = array.base
    if (
        not isinstance(owner, np.ndarray)
        or owner.dtype != np.uint8
        or owner.base is not None
        or not owner.flags.writeable
    ):
        return False
    return bool(array.ctypes.data + array.nbytes + TAIL <= owner.ctypes.data + owner.nbytes)


class WeightStore:
    """Packed weights by key; each is made once. What is asked for while a program is lowered is made together, later."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}
        self._wanted: dict[str, Callable[[], Array]] = {}

    def hold(self, key: str, make: Callable[[], Array]) -> str:
        """Keep the array of that key, to be made by `settle` if it is new; returns the key."""
        if key not in self._arrays:
            self._wanted.setdefault(key, make)
        return key

    def settle(self, threads: int) -> None:
        """Make what is wanted: decoding and packing are kernels, which run outside the GIL."""
        wanted, self._wanted = deque(self._wanted.items()), {}
        failures: list[Exception] = []

        def work() -> None:
            while wanted and not failures:
                try:
                    key, make = wanted.popleft()
                except IndexError:  # another thread took the last one
                    return
                try:
                    self._arrays[key] = aligned(make())
                except Exception as error:  # raised below, by the thread that asked
                    failures.append(error)

        helpers = [Thread(target=work) for _ in range(min(threads, len(wanted)) - 1)]
        for helper in helpers:
            helper.start()
        work()
        for helper in helpers:
            helper.join()
        if failures:
            raise failures[0]

    def address(self, key: str) -> int:
        """Where the array of that key lies."""
        return int(self._arrays[key].ctypes.data)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays.values())


class Arena:
    """Activations of all programs of a model, of which one runs at a time. It only grows."""

    def __init__(self) -> None:
        self.version = 0
        self._memory = np.empty(0, np.uint8)

    def reserve(self, nbytes: int) -> int:
        """The address of at least so many bytes. `version` changes when they move."""
        if self._memory.nbytes < nbytes or self.version == 0:
            self._memory = aligned_empty(nbytes, "uint8")
            self.version += 1
        return int(self._memory.ctypes.data)

    @property
    def memory(self) -> Array:
        """All of it, as bytes."""
        return self._memory

    def view(self, offset: int, spec: TensorSpec) -> Array:
        """The bytes at an offset as a tensor."""
        return self._memory[offset : offset + spec.nbytes].view(spec.dtype).reshape(spec.dims)


def trim_heap() -> None:
    """Give free pages of the heap back to the system, where the C library can (glibc): planning leaves many behind."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
