"""Packed weights, shared by all programs of a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Thread

from alula.runtime.graph import Array
from alula.runtime.memory.aligned import aligned


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

    def make(self, threads: int) -> None:
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
