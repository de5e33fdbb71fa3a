"""Tensors that training changes: each has one buffer that outlives the runs, in the order that the forward kernels read.

A weight lies in memory as its kernel wants it (its storage). Its gradient and its optimiser's state lie in the same
order, so that an update is one flat loop. Any other order is looked up from the storage: since orders only move
elements, and pad with zeros, an order is known from what it does to the numbers 1, 2, 3 ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.lowering import PLAIN
from alula.runtime.weights import ALIGNMENT, aligned_empty

MOST_DIGITS = 1 << 12

SMALL_BYTES, SLAB_BYTES = 1 << 12, 1 << 14  # of what shares pages, and of what is taken for it at a time

Packing = Callable[[Array], Array]


def positions(packing: Packing, dims: tuple[int, ...], dtype: str = "float32") -> Array:
    """Where each element of an order comes from: int64 index into the canonical order, -1 for padding.

    dtype : of the arrays that the packing takes; positions pass through it digit by digit
    raise : GraphError if the packing does more than move elements
    """
    count = int(np.prod(dims, dtype=np.int64))
    numbers, base = np.arange(count, dtype=np.int64).reshape(dims), _largest(dtype)
    real = np.array(packing(np.ones(dims, dtype)), np.float64).reshape(-1)
    if not np.isin(real, (0, 1)).all():
        raise GraphError("weight: expected a kernel that reads it as it is, got one that scales it; freeze that layer")
    found, scale = np.zeros(real.size, np.int64), 1
    while scale < max(count, 2):
        digits = np.ascontiguousarray(numbers // scale % base, dtype)
        found += np.array(packing(digits), np.int64).reshape(-1) * scale
        scale *= base
    return np.where(real == 1, found, -1)


def _largest(dtype: str) -> int:
    """How many whole numbers from 0 on a type holds exactly, MOST_DIGITS at most."""
    kind = np.dtype(dtype)
    return min(MOST_DIGITS, 1 << np.finfo(kind).nmant if kind.kind == "f" else int(np.iinfo(kind).max) + 1)


def holds_each_once(places: Array, count: int) -> bool:
    """Whether an order, given by `positions`, has each of `count` elements exactly once, besides padding."""
    real = places[places >= 0]
    seen = np.zeros(count, bool)
    seen[real] = True
    return bool(real.size == count and seen.all())


def _looked_up(value: Array, places: Array) -> Array:
    """A canonical value in another order, flat; zeros for padding."""
    return np.where(places >= 0, value.reshape(-1)[places], 0).astype(value.dtype)


class Slab:
    """Memory for many arrays. Small ones share pages: those of a layer, which are read together, lie near each other."""

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)

    def empty(self, size: int, dtype: np.dtype[Any]) -> Array:
        """A flat array as of `aligned_empty`."""
        nbytes = size * dtype.itemsize
        if nbytes > SMALL_BYTES:
            return aligned_empty(size, dtype.name)
        room = -(-nbytes // ALIGNMENT) * ALIGNMENT
        if room > self._block.size:
            self._block = aligned_empty(SLAB_BYTES, "uint8")
        found, self._block = self._block[:nbytes], self._block[room:]
        return found.view(dtype)


class Variable:
    """One tensor and its buffer.

    spec   : canonical shape, float32
    packing: name of the storage order; "" until the first program chose it
    """

    def __init__(self, name: str, value: Array, slab: Slab) -> None:
        self.name, self.spec, self._slab = name, TensorSpec.of(value), slab
        self.packing = ""
        self._canonical: Array | None = np.array(value, value.dtype)
        self._make: Packing | None = (
            None  # positions follow from it when they are asked for: they weigh more than the value
        )
        self.storage = np.empty(0, value.dtype)

    def settle(self, packing: str = PLAIN, make: Packing | None = None) -> None:
        """Choose the storage, once; the value moves there.

        An order that leaves an element out, or holds one twice, is no storage: then the canonical order is.
        """
        assert not self.packing and self._canonical is not None
        value, self._canonical = self._canonical, None
        places = None if make is None else positions(make, self.spec.dims, self.spec.dtype)
        if places is None or not holds_each_once(places, self.spec.size):
            packing, make, places = PLAIN, None, None
        self.packing, self._make = packing, make
        flat = value.reshape(-1) if places is None else _looked_up(value, places)
        self.storage = self._slab.empty(flat.size, self.storage.dtype)
        self.storage[:] = flat

    def follow(self, other: Variable) -> None:
        """Take the storage of another variable of the same shape."""
        if self.packing == other.packing and self.packing:
            return
        assert not self.packing and self._canonical is not None and self.spec == other.spec
        self.packing, self._make = other.packing, other._make
        self.storage = self._slab.empty(other.size, self.storage.dtype)
        self.assign(self._canonical)
        self._canonical = None

    @property
    def is_plain(self) -> bool:
        """Whether the storage has the canonical order."""
        return self._make is None

    @property
    def size(self) -> int:
        """Elements of the storage, padding included."""
        return int(self.storage.size)

    @property
    def nbytes(self) -> int:
        """Bytes of the storage."""
        return int(self.storage.nbytes)

    def value(self) -> Array:
        """A copy in canonical order."""
        if self._canonical is not None:
            return self._canonical.copy()
        return self.canonical(self.storage)

    def canonical(self, stored: Array) -> Array:
        """A copy in canonical order of what lies in the order of the storage."""
        places = self._positions()
        if places is None:
            return stored.reshape(self.spec.dims).copy()
        flat = np.zeros(self.spec.size, stored.dtype)
        real = places >= 0
        flat[places[real]] = stored[real]
        return flat.reshape(self.spec.dims)

    def assign(self, value: Array) -> None:
        """Set the value, given in canonical order."""
        if TensorSpec.of(value) != self.spec:
            raise GraphError(
                f"variable {self.name}: expected {self.spec}, got {TensorSpec.of(value)}; it is another network's"
            )
        if not self.packing:
            self._canonical = value.copy()
        else:
            self.storage[:] = self.packed_like_storage(value)

    def packed_like_storage(self, value: Array) -> Array:
        """A canonical value in the order of the storage, flat."""
        places = self._positions()
        return value.reshape(-1) if places is None else _looked_up(value, places)

    def lookup(self, make: Packing | None) -> Array:
        """int32 indices into the storage that give another order (None: the canonical one), -1 for padding."""
        wanted = np.arange(self.spec.size) if make is None else positions(make, self.spec.dims, self.spec.dtype)
        place = np.arange(self.spec.size)
        places = self._positions()
        if places is not None:
            real = places >= 0
            place[places[real]] = np.flatnonzero(real)
        return np.where(wanted >= 0, place[wanted], -1).astype(np.int32)

    def gather_to_storage(self) -> Array | None:
        """int32 indices into the canonical order that give the storage, -1 for padding; None if it is plain."""
        places = self._positions()
        return None if places is None else places.astype(np.int32)

    def _positions(self) -> Array | None:
        """Where each element of the storage comes from; None if it is plain."""
        return None if self._make is None else positions(self._make, self.spec.dims, self.spec.dtype)


class Variables(dict[str, Variable]):
    """The variables of a training state, by name."""

    def __init__(self) -> None:
        super().__init__()
        self._slab = Slab()

    def declare(self, values: Mapping[str, Array]) -> None:
        """Add variables with their canonical values."""
        for name, value in values.items():
            self[name] = Variable(name, value, self._slab)

    def address(self, name: str) -> int:
        """Where a variable's storage lies."""
        return int(self[name].storage.ctypes.data)

    @property
    def nbytes(self) -> int:
        """Bytes of all storages."""
        return sum(variable.nbytes for variable in self.values())


class State:
    """What a training program changes, shared by all programs of a trainer.

    variables : the tensors that it changes
    updates   : output of the program -> the variable that it becomes
    follows   : gradient or optimiser's state -> the variable whose storage order it has
    """

    def __init__(
        self,
        variables: Variables | None = None,
        updates: Mapping[str, str] | None = None,
        follows: Mapping[str, str] | None = None,
    ) -> None:
        self.variables = Variables() if variables is None else variables
        self.updates, self.follows = dict(updates or {}), dict(follows or {})

    def settle(self) -> None:
        """Give a storage to every variable that lowering has not given one."""
        for name, variable in self.variables.items():
            leader = self.variables.get(self.follows.get(name, ""))
            if leader is None and not variable.packing:
                variable.settle()
        for name, variable in self.variables.items():
            leader = self.variables.get(self.follows.get(name, ""))
            if leader is not None:
                variable.follow(leader)
