"""The shortest way through a program: for networks that run for a few microseconds, of which Python must not take more.

Everything that is the same in each call is looked up once: the places of inputs and outputs, and the virtual machine's
words. What remains is a copy of each input, one native call, and a copy of each output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from alula.runtime.graph import Array
from alula.runtime.planning.binding import Binding

if TYPE_CHECKING:
    from alula.runtime.planning.program import Program


class Call:
    """A program whose inputs and outputs are all small, and whose nodes all have kernels."""

    def __init__(self, program: Program, binding: Binding) -> None:
        self._team, self._binding, self._arena = program.team, binding, binding.arena
        self._run = self._team.run_alone if program.is_tiny else self._team.run
        self._table, self._length = int(binding.tables.table.ctypes.data), len(program.instructions)
        self._places = tuple(binding.staged[name] for name in program.network.inputs)
        roots = [(program.lowering.root(name), program.network.specs[name].dims) for name in program.results]
        self._results = tuple(binding.staged[root].reshape(dims) for root, dims in roots)
        self._bound = -1

    @staticmethod
    def fits(program: Program, binding: Binding) -> bool:
        """Whether a program can be called so."""
        roots = [program.lowering.root(name) for name in program.results]
        return (
            not program.references
            and all(name in binding.staged for name in program.network.inputs)
            and all(root in binding.staged and root in program.outputs for root in roots)
        )

    def __call__(self, arrays: Iterable[Array]) -> list[Array]:
        """The results as arrays of their own.

        arrays : one for each input of the network, in its order, of the planned shapes and dtypes; any strides
        """
        with self._team.lock:
            if self._bound != self._arena.version:
                self._binding.bind()
                self._bound = self._arena.version
            for place, array in zip(self._places, arrays):
                place[...] = array
            self._run(self._table, self._length)
            return [result.copy() for result in self._results]
