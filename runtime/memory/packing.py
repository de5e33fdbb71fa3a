"""Packings: the order of elements that a kernel reads, and where each element comes from.

A packing only moves elements and pads with zeros, so it is known from what it does to the numbers 1, 2, 3 ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array

MAX_DIGITS = 1 << 12


@dataclass(frozen=True, slots=True)
class Packing:
    """An order. Two are the same if their kinds and numbers are.

    make    : (canonical array) -> array in this order, of any shape
    numbers : what it depends on besides the kind and the CPU
    """

    kind: str
    make: Callable[[Array], Array] = field(compare=False)
    numbers: tuple[int | float, ...] = ()

    def __str__(self) -> str:
        return "/".join((self.kind, *map(str, self.numbers)))


PLAIN = Packing("plain", lambda array: array)  # the canonical order


def positions(packing: Packing, dims: tuple[int, ...], dtype: str = "float32") -> Array:
    """Where each element of an order comes from: int64 index into the canonical order, -1 for padding.

    dtype : of the arrays that the packing takes; positions pass through it digit by digit
    raise : GraphError if the packing does more than move elements
    """
    count = int(np.prod(dims, dtype=np.int64))
    numbers, base = np.arange(count, dtype=np.int64).reshape(dims), _largest(dtype)
    real = np.array(packing.make(np.ones(dims, dtype)), np.float64).reshape(-1)
    if not np.isin(real, (0, 1)).all():
        raise GraphError("weight: expected a kernel that reads it as it is, got one that scales it; freeze that layer")
    found, scale = np.zeros(real.size, np.int64), 1
    while scale < max(count, 2):
        digits = np.ascontiguousarray(numbers // scale % base, dtype)
        found += np.array(packing.make(digits), np.int64).reshape(-1) * scale
        scale *= base
    return np.where(real == 1, found, -1)


def _largest(dtype: str) -> int:
    """How many whole numbers from 0 on a type holds exactly, MAX_DIGITS at most."""
    kind = np.dtype(dtype)
    return min(MAX_DIGITS, 1 << np.finfo(kind).nmant if kind.kind == "f" else int(np.iinfo(kind).max) + 1)


def holds_each_once(places: Array, count: int) -> bool:
    """Whether an order, given by `positions`, has each of `count` elements exactly once, besides padding."""
    real = places[places >= 0]
    seen = np.zeros(count, bool)
    seen[real] = True
    return bool(real.size == count and seen.all())


def in_order(value: Array, places: Array) -> Array:
    """A canonical value in another order, flat; zeros for padding."""
    return np.where(places >= 0, value.reshape(-1)[places], 0).astype(value.dtype)
