"""The memory that activations use."""

from __future__ import annotations

import numpy as np

from alula.runtime.graph import Array, TensorSpec
from alula.runtime.memory.aligned import aligned_empty


class Arena:
    """Activations of all programs of a model, of which one runs at a time. It only grows."""

    def __init__(self) -> None:
        self.version = 0
        self._memory = np.empty(0, np.uint8)

    def reserve(self, nbytes: int) -> int:
        """The address of at least `nbytes` bytes. `version` changes when they move."""
        if self._memory.nbytes < nbytes or self.version == 0:
            self.version += 1  # first: a fork in between must not leave old addresses valid
            self._memory = aligned_empty(nbytes, "uint8")
        return int(self._memory.ctypes.data)

    @property
    def memory(self) -> Array:
        """All of it, as bytes."""
        return self._memory

    def view(self, offset: int, spec: TensorSpec) -> Array:
        """The bytes at an offset as a tensor."""
        return self._memory[offset : offset + spec.nbytes].view(spec.dtype).reshape(spec.dims)
