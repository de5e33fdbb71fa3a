"""Variables: tensors that training changes. Each has one buffer that outlives the runs, in the order that the forward kernel reads.

A weight is stored in the packing of its forward kernel. Its gradient and its optimiser's state have the same packing, so an
update is one flat loop. Any other packing is derived from the storage (packing.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.memory.aligned import ALIGNMENT, aligned_empty
from alula.runtime.memory.packing import PLAIN, Packing, holds_each_once, in_order, positions

SMALL_BYTES, SLAB_BYTES = 1 << 12, 1 << 14  # of what shares pages, and of what is taken for it at a time


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
    packing: order of the storage; None until the first program chose it. Positions follow from it when they are asked for:
             they weigh more than the value
    """

    def __init__(self, name: str, value: Array, slab: Slab) -> None:
        self.name, self.spec, self._slab = name, TensorSpec.of(value), slab
        self.packing: Packing | None = None
        self._canonical: Array | None = np.array(value, value.dtype)
        self.storage = np.empty(0, value.dtype)

    def settle(self, packing: Packing = PLAIN) -> None:
        """Choose the storage, once; the value moves there.

        An order that leaves an element out, or holds one twice, is no storage: then the canonical order is.
        """
        assert self.packing is None and self._canonical is not None
        value, self._canonical = self._canonical, None
        places = None if packing == PLAIN else positions(packing, self.spec.dims, self.spec.dtype)
        if places is None or not holds_each_once(places, self.spec.size):
            packing, places = PLAIN, None
        self.packing = packing
        flat = value.reshape(-1) if places is None else in_order(value, places)
        self.storage = self._slab.empty(flat.size, self.storage.dtype)
        self.storage[:] = flat

    def follow(self, other: Variable) -> None:
        """Take the storage of another variable of the same shape."""
        if self.packing is not None and self.packing == other.packing:
            return
        assert self.packing is None and self._canonical is not None and self.spec == other.spec
        self.packing = other.packing
        self.storage = self._slab.empty(other.size, self.storage.dtype)
        self.assign(self._canonical)
        self._canonical = None

    @property
    def is_plain(self) -> bool:
        """Whether the storage has the canonical order."""
        return self.packing in (None, PLAIN)

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
        if self.packing is None:
            self._canonical = value.copy()
        else:
            self.storage[:] = self.packed_like_storage(value)

    def packed_like_storage(self, value: Array) -> Array:
        """A canonical value in the order of the storage, flat."""
        places = self._positions()
        return value.reshape(-1) if places is None else in_order(value, places)

    def lookup(self, packing: Packing) -> Array:
        """int32 indices into the storage that give another order, -1 for padding."""
        plain = packing == PLAIN
        wanted = np.arange(self.spec.size) if plain else positions(packing, self.spec.dims, self.spec.dtype)
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
        if self.packing is None or self.is_plain:
            return None
        return positions(self.packing, self.spec.dims, self.spec.dtype)


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
            if leader is None and variable.packing is None:
                variable.settle()
        for name, variable in self.variables.items():
            leader = self.variables.get(self.follows.get(name, ""))
            if leader is not None:
                variable.follow(leader)
