"""Memory that outlives a run: packed weights, shared by all programs of a model, and the arena of activations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alula.runtime.graph import Array, TensorSpec

ALIGNMENT = 64
TAIL = 64  # kernels may read one vector past the end of an array


def aligned(array: Array) -> Array:
    """A contiguous copy that begins on a cache line, with readable memory behind it."""
    raw = np.empty(array.nbytes + ALIGNMENT + TAIL, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


class WeightStore:
    """Packed weights by key; each is made once."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    def hold(self, key: str, make: Callable[[], Array]) -> str:
        """Keep the array of that key, making it if it is new; returns the key."""
        if key not in self._arrays:
            self._arrays[key] = aligned(make())
        return key

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
        if self._memory.nbytes < nbytes + TAIL or self.version == 0:
            self._memory = aligned(np.empty(nbytes + TAIL, np.uint8))
            self.version += 1
        return int(self._memory.ctypes.data)

    def view(self, offset: int, spec: TensorSpec) -> Array:
        """The bytes at an offset as a tensor."""
        return self._memory[offset : offset + spec.nbytes].view(spec.dtype).reshape(spec.dims)
