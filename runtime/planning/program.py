"""A planned model for one set of input shapes: instructions, memory, and how to run them.

Argument words are filled in once; only the addresses of inputs and outputs change from run to run. Nodes without a
kernel for their dtype run as their NumPy reference between kernels.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from alula.runtime.compiler.loader import library, word_of
from alula.runtime.errors import MemoryBudgetError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.aligned import aligned, is_checking
from alula.runtime.memory.arena import Arena
from alula.runtime.memory.variables import State
from alula.runtime.memory.weights import WeightStore
from alula.runtime.ops.contract import find
from alula.runtime.ops.epilogue import unfuse
from alula.runtime.planning.arena import lay_out
from alula.runtime.planning.checking import Watch, prove_layout, prove_updates, spaced
from alula.runtime.planning.lowering import FnRef, Instruction, Ref
from alula.runtime.planning.nodes import lowered
from alula.runtime.planning.prefetch import look_ahead
from alula.runtime.planning.reference import run_node
from alula.runtime.planning.specialise import Specialised
from alula.runtime.threads import Team

TABLE_WORDS = 4  # per instruction; see kernels/vm.py


@frozen
class Stretch:
    """Instructions that run without Python in between, or (length 0) one reference node."""

    first: int
    length: int
    node: Node | None = None


@frozen
class Memory:
    """Bytes that a program needs while it runs, known before it does.

    activations : one arena for activations, gradients and scratch
    weights     : constants as the kernels read them, and tables
    variables   : what training changes, with what the optimiser remembers
    """

    activations: int
    weights: int
    variables: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.activations + self.weights + self.variables


class Program:
    """One model, planned for fixed shapes.

    arena_bytes : of activations and scratch
    raise       : MemoryBudgetError, before anything runs, if the arena would exceed `max_bytes`
    """

    def __init__(
        self,
        network: Specialised,
        store: WeightStore,
        arena: Arena,
        tiles: Tiles,
        team: Team,
        max_bytes: int | None = None,
        state: State | None = None,
    ) -> None:
        self.network, self.arena, self.team, self.state = network, arena, team, state or State()
        lowering = lowered(network, store, tiles, team.n_threads, self.state)
        self.instructions: list[Instruction] = lowering.instructions
        self._lowering = lowering
        self._root = lowering.root
        self._outputs = self._choose_outputs()
        variables = self.state.variables
        external = {*network.inputs, *self._outputs, *variables}
        sizes = dict(lowering.sizes)
        for instruction in self.instructions:
            for name in instruction.named:
                if name in network.specs and name not in external and name not in network.values:
                    sizes[name] = lowering.storage(name)[1] * network.specs[name].itemsize
        look_ahead(self.instructions, {name: variable.nbytes for name, variable in variables.items()})
        self._layout = lay_out(self.instructions, sizes)
        self.arena_bytes = self._layout.nbytes
        self._watch = self._checked(sizes) if is_checking() else None
        self._store, self._tables = store, {name: aligned(table) for name, table in lowering.tables.items()}
        memory = self.memory
        if max_bytes is not None and memory.total > max_bytes:
            kept = f" and {memory.variables:,} for what is trained" if memory.variables else ""
            raise MemoryBudgetError(
                f"program: expected at most {max_bytes:,} bytes, got {memory.activations:,} for activations, "
                f"{memory.weights:,} for weights{kept}; use a smaller input or raise the budget"
            )
        self._assemble()

    def _checked(self, sizes: Mapping[str, int]) -> Watch:
        """Prove the plan, and move to memory of its own that shows what goes wrong."""
        prove_layout(self.instructions, sizes, self._layout)
        prove_updates(self.instructions, self._lowering, self.state.updates)
        self._layout, self.arena = spaced(self.instructions, sizes, self._layout), Arena()
        return Watch(sizes, self._layout)

    @property
    def results(self) -> tuple[str, ...]:
        """The outputs that a run returns: all but those that are written into variables."""
        return tuple(name for name in self.network.outputs if name not in self.state.updates)

    @property
    def memory(self) -> Memory:
        """What it needs; programs of one model or trainer share all three kinds."""
        tables = sum(table.nbytes for table in self._tables.values())
        return Memory(self.arena_bytes, self._store.nbytes + tables, self.state.variables.nbytes)

    @property
    def macs(self) -> int:
        """Multiply-adds of one run."""
        return sum(map(self.macs_of, self.network.nodes))

    def macs_of(self, node: Node) -> int:
        """Multiply-adds of one of its nodes, with what is fused to it."""
        total, specs = 0, self.network.specs
        for part in unfuse(node):
            if macs := find(part.op, part.label).macs:
                inputs = [specs[n] if n else None for n in part.inputs]
                total += macs(part.attrs, inputs, [specs[n] for n in part.outputs if n])
        return total

    @property
    def reference_nodes(self) -> tuple[Node, ...]:
        """The nodes that have no kernel for their shapes and dtypes."""
        return tuple(i.node for i in self.instructions if i.kernel is None)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute the outputs. `inputs` are contiguous and of the planned specs."""
        with self.team.lock:
            arrays = self._patch(inputs)
            if self._watch:
                self._watch.poison(self.arena.memory)
            for stretch in self._stretches:
                if stretch.node is None:
                    self.team.run(self._table.ctypes.data + 8 * TABLE_WORDS * stretch.first, stretch.length)
                else:
                    self._run_reference(stretch.node, inputs, arrays)
            if self._watch:
                self._watch.check(self.arena.memory, self._outputs)
        return {name: self._output(name, inputs, arrays) for name in self.results}

    def profile(
        self, inputs: Mapping[str, Array], rounds: int = 10, clock: Callable[[], Any] = time.perf_counter
    ) -> list[tuple[Instruction, Any]]:
        """What each instruction costs on average, run one at a time; a reference node counts its Python, too.

        clock : what is read before and after: seconds, or counters of another kind
        """
        costs: list[Any] = [0] * len(self.instructions)
        with self.team.lock:
            arrays = self._patch(inputs)
            for _ in range(rounds):
                for i, instruction in enumerate(self.instructions):
                    start = clock()
                    if instruction.kernel is None:
                        self._run_reference(instruction.node, inputs, arrays)
                    else:
                        self.team.run(self._table.ctypes.data + 8 * TABLE_WORDS * i, 1)
                    costs[i] += clock() - start
        return [(instruction, total / rounds) for instruction, total in zip(self.instructions, costs, strict=True)]

    def _patch(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Write the addresses of the inputs and of new output arrays; these are returned and must outlive the run."""
        if self._bound != self.arena.version:
            self._bind()
        if self._watch:
            arrays = self._watch.outputs(self._outputs)
        else:
            arrays = {name: np.empty(spec.dims, spec.dtype) for name, spec in self._outputs.items()}
        for name, (places, offsets) in self._patches.items():
            self._words[places] = (inputs[name] if name in inputs else arrays[name]).ctypes.data + offsets
        return arrays

    def _choose_outputs(self) -> dict[str, TensorSpec]:
        """The buffers that become output arrays: computed ones that are not inputs."""
        chosen = {}
        for name in self.results:
            root = self._root(name)
            if root not in self.network.values and root not in self.network.inputs:
                chosen[root] = self.network.specs[root]
        return chosen

    def _output(self, name: str, inputs: Mapping[str, Array], arrays: Mapping[str, Array]) -> Array:
        root, dims = self._root(name), self.network.specs[name].dims
        if root in self.network.values:
            return np.array(self.network.values[root]).reshape(dims)
        array = arrays[root] if root in arrays else inputs[root].copy()
        if root in arrays and list(map(self._root, self.results)).count(root) > 1:
            array = array.copy()
        return array.reshape(dims)

    def _assemble(self) -> None:
        """Lay out all argument words, with a note of every address in them.

        The instructions' own lists go as soon as they are copied: Python objects weigh as much as a small network.
        """
        kernels = library()
        sizes = np.array([len(instruction.words) for instruction in self.instructions], np.int64)
        starts = np.cumsum(sizes) - sizes
        self._words = np.zeros(int(sizes.sum()), np.int64)
        self._table = np.zeros((max(len(sizes), 1), TABLE_WORDS), np.int64)
        fixups: dict[str, tuple[array[int], array[int]]] = {}  # places of a buffer's addresses, and what is added there
        for i, (instruction, start) in enumerate(zip(self.instructions, starts.tolist(), strict=True)):
            if instruction.kernel:
                self._table[i, 0] = kernels.address(instruction.kernel.name)
                self._table[i, 1] = self._words.ctypes.data + 8 * start
            for place, word in enumerate(instruction.words, start):
                if isinstance(word, Ref):
                    places, offsets = fixups.setdefault(word.buffer, (array("q"), array("q")))
                    places.append(place)
                    offsets.append(word.offset)
                else:
                    address = kernels.address(word.kernel) if isinstance(word, FnRef) else word_of(word)
                    self._words[place] = address
            instruction.words = instruction.buffers = ()
        external = {*self.network.inputs, *self._outputs} - set(self.state.variables)
        self._patches = {name: (np.array(p), np.array(o)) for name, (p, o) in fixups.items() if name in external}
        self._fixed = tuple(name for name in fixups if name not in external)
        parts = [np.empty((3, 0), np.int64)]
        for i, name in enumerate(self._fixed):
            places, offsets = fixups[name]
            parts.append(np.array([[i] * len(places), places, offsets], np.int64))
        self._fixups = np.concatenate(parts, axis=1)  # which buffer, place of a word, offset from the buffer
        self._stretches = _stretches(self.instructions)
        self._bound = -1

    def _bind(self) -> None:
        """Write the addresses of all buffers but inputs and outputs."""
        base = self.arena.reserve(self._layout.nbytes)
        addresses = np.empty(len(self._fixed), np.int64)
        for i, name in enumerate(self._fixed):
            if name in self._layout.offsets:
                addresses[i] = base + self._layout.offsets[name]
            elif name in self._tables:
                addresses[i] = self._tables[name].ctypes.data
            elif name in self.state.variables:
                addresses[i] = self.state.variables.address(name)
            else:
                addresses[i] = self._store.address(name)
        which, places, offsets = self._fixups
        self._words[places] = addresses[which] + offsets
        self._bound = self.arena.version

    def _run_reference(self, node: Node, inputs: Mapping[str, Array], arrays: Mapping[str, Array]) -> None:
        flat = find(node.op, node.label).in_storage
        values = {name: self._view(name, inputs, arrays, flat) for name in node.reads}
        run_node(node, values)
        for name in node.outputs:
            root = self._root(name) if name else ""
            if root in self._layout.offsets or root in arrays or root in self.state.variables:
                self._view(name, inputs, arrays, flat)[...] = values[name]

    def _view(self, name: str, inputs: Mapping[str, Array], arrays: Mapping[str, Array], flat: bool = False) -> Array:
        """A tensor as an array. flat: what belongs to a variable comes in the variable's own order."""
        root, spec = self._root(name), self.network.specs[name]
        variable = self._lowering.variable_of(name) or self._lowering.variable_of(root)
        if flat and variable:
            spec = TensorSpec((variable.size,), spec.dtype)
        if root in self.state.variables:
            own = self.state.variables[root]
            return own.storage.reshape(spec.dims) if flat or own.is_plain else own.value()
        if root in self.network.values:
            return self.network.values[root].reshape(spec.dims)
        if root in inputs or root in arrays:
            return (inputs[root] if root in inputs else arrays[root]).reshape(spec.dims)
        if not flat and variable and not variable.is_plain:
            stored = TensorSpec((variable.size,), spec.dtype)
            return variable.canonical(self.arena.view(self._layout.offsets[root], stored)).reshape(spec.dims)
        return self.arena.view(self._layout.offsets[root], spec)


def _stretches(instructions: list[Instruction]) -> list[Stretch]:
    found: list[Stretch] = []
    for i, instruction in enumerate(instructions):
        if instruction.kernel is None:
            found.append(Stretch(i, 0, instruction.node))
        elif found and found[-1].node is None:
            found[-1] = Stretch(found[-1].first, found[-1].length + 1)
        else:
            found.append(Stretch(i, 1))
    return found
