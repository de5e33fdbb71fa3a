"""A program's argument words with the addresses of one arena, and how they run: whole, or in parts.

Words are laid out once. Small inputs and outputs are copied to and from places of their own: that costs less than to write
an address. The addresses of larger ones change from run to run. Nodes without a kernel run as their NumPy reference between
two stretches of kernels.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from alula.runtime.compiler.loader import library, word_of
from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.memory.aligned import aligned_empty, is_checking
from alula.runtime.memory.arena import Arena
from alula.runtime.ops.contract import find
from alula.runtime.planning.checking import Watch
from alula.runtime.planning.lowering import FnRef, Instruction, Ref
from alula.runtime.planning.reference import is_skipped, run_node
from alula.runtime.threads import Team

if TYPE_CHECKING:
    from alula.runtime.planning.program import Program

TABLE_WORDS = 4  # per instruction; see kernels/vm.py
STAGED_BYTES = 1 << 16  # an input or output up to this is copied, a larger one is read or written where it is


class Tables:
    """What the virtual machine reads: a table of instructions, their argument words, and a note of every address in them.

    external : buffers whose addresses change from run to run
    """

    def __init__(self, instructions: Sequence[Instruction], external: Collection[str]) -> None:
        """The instructions' own lists go as soon as they are copied: Python objects weigh as much as a small network."""
        kernels = library()
        sizes = np.array([len(each.words) + (each.guard is not None) for each in instructions], np.int64)
        self._starts = np.cumsum(sizes) - sizes
        self.words = np.zeros(int(sizes.sum()), np.int64)
        self.table = np.zeros((max(len(sizes), 1), TABLE_WORDS), np.int64)
        self._guarded = np.array([i for i, each in enumerate(instructions) if each.guard], np.int64)
        fixups: dict[str, tuple[array[int], array[int]]] = {}  # places of a buffer's addresses, and what is added there
        for i, (instruction, start) in enumerate(zip(instructions, self._starts.tolist(), strict=True)):
            if instruction.kernel:
                self.table[i, 0] = kernels.address(instruction.kernel.name)
            flag = [instruction.guard.flag] if instruction.guard else []
            self.table[i, 3] = instruction.guard is not None and instruction.guard.when
            for place, word in enumerate([*instruction.words, *flag], start):
                if isinstance(word, Ref):
                    places, offsets = fixups.setdefault(word.buffer, (array("q"), array("q")))
                    places.append(place)
                    offsets.append(word.offset)
                else:
                    address = kernels.address(word.kernel) if isinstance(word, FnRef) else word_of(word)
                    self.words[place] = address
            instruction.words = instruction.buffers = ()
        self._ends = self._starts + sizes
        self.patches = {name: (np.array(p), np.array(o)) for name, (p, o) in fixups.items() if name in external}
        self.fixed = tuple(name for name in fixups if name not in external)
        parts = [np.empty((3, 0), np.int64)]
        for i, name in enumerate(self.fixed):
            places, offsets = fixups[name]
            parts.append(np.array([[i] * len(places), places, offsets], np.int64))
        self.fixups = np.concatenate(parts, axis=1)  # which buffer, place of a word, offset from the buffer
        self._point()

    def _point(self) -> None:
        """Write where the words lie; the address of a flag is the last word of its instruction."""
        base = self.words.ctypes.data
        self.table[: len(self._starts), 1] = base + 8 * self._starts
        self.table[self._guarded, 2] = base + 8 * (self._ends[self._guarded] - 1)

    def copied(self) -> Tables:
        """The same with words of its own."""
        other = object.__new__(Tables)
        other.__dict__.update(self.__dict__, words=self.words.copy(), table=self.table.copy())
        other._point()
        return other


class Binding:
    """A program on one arena.

    staged : the places of small inputs and outputs, by name
    """

    def __init__(self, program: Program, arena: Arena, tables: Tables) -> None:
        self.program, self.arena, self.tables = program, arena, tables
        self._watch = Watch(program.sizes, program.arena_plan) if is_checking() else None
        external = {**program.network.inputs, **program.outputs}
        self.staged = {
            name: aligned_empty(spec.size, spec.dtype).reshape(spec.dims)
            for name, spec in external.items()
            if spec.nbytes <= STAGED_BYTES and name not in program.state.variables and not self._watch
        }
        for name in tables.patches.keys() & self.staged.keys():
            self._patch(name, self.staged[name])
        self._moving = tuple(name for name in tables.patches if name not in self.staged)
        self._bound = -1
        self._inputs: Mapping[str, Array] = {}
        self._arrays: dict[str, Array] = {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All of it; the caller has the team's lock."""
        self.begin(inputs)
        self.execute(0, len(self.program.instructions))
        return self.results()

    def begin(self, inputs: Mapping[str, Array]) -> None:
        """Write the addresses of the inputs and of new output arrays, which are kept until `results`."""
        self.bind()
        outputs, staged = self.program.outputs, self.staged
        if self._watch:
            self._arrays = self._watch.outputs(outputs)
            self._watch.poison(self.arena.memory)
        else:
            self._arrays = {n: staged[n] if n in staged else np.empty(s.dims, s.dtype) for n, s in outputs.items()}
        self._inputs = inputs
        for name in staged.keys() & inputs.keys():
            staged[name][...] = inputs[name]
        for name in self._moving:
            self._patch(name, inputs[name] if name in inputs else self._arrays[name])

    def _patch(self, name: str, array: Array) -> None:
        places, offsets = self.tables.patches[name]
        self.tables.words[places] = array.ctypes.data + offsets

    def execute(self, first: int, end: int) -> None:
        """The instructions from `first` on, up to `end`."""
        instructions, table, run = self.program.instructions, self.tables.table.ctypes.data, self.program.team.run
        if self.program.is_tiny:
            run = self.program.team.run_alone
        while first < end:
            if instructions[first].kernel is None:
                self._run_reference(instructions[first].node)
                first += 1
                continue
            begin = first
            first = next((i for i in self.program.references if begin <= i < end), end)
            run(table + 8 * TABLE_WORDS * begin, first - begin)

    def results(self) -> dict[str, Array]:
        """The outputs."""
        if self._watch:
            self._watch.check(self.arena.memory, self.program.outputs)
        found = {name: self._output(name) for name in self.program.results}
        self._inputs, self._arrays = {}, {}
        return found

    def _output(self, name: str) -> Array:
        root, dims = self.program.lowering.root(name), self.program.network.specs[name].dims
        if root in self.program.network.values:
            return np.array(self.program.network.values[root]).reshape(dims)
        if root in self.program.state.variables:
            return self.program.state.variables[root].value().reshape(dims)
        array = self._arrays[root] if root in self._arrays else self._inputs[root].copy()
        roots = map(self.program.lowering.root, self.program.results)
        if root in self._arrays and (root in self.staged or list(roots).count(root) > 1):
            array = array.copy()
        return array.reshape(dims)

    def bind(self) -> None:
        """Write the addresses of all buffers but inputs and outputs, if the arena has moved."""
        if self._bound == self.arena.version:
            return
        arena_plan = self.program.arena_plan
        base = self.arena.reserve(arena_plan.nbytes)
        addresses = np.empty(len(self.tables.fixed), np.int64)
        for i, name in enumerate(self.tables.fixed):
            addresses[i] = base + arena_plan.offsets[name] if name in arena_plan.offsets else self.program.address(name)
        which, places, offsets = self.tables.fixups
        self.tables.words[places] = addresses[which] + offsets
        self._bound = self.arena.version

    def _run_reference(self, node: Node) -> None:
        program = self.program
        if node.guard and is_skipped(node, {node.guard: self._view(node.guard)}):
            return
        flat = find(node.op, node.label).in_storage
        values = {name: self._view(name, flat) for name in node.reads}
        run_node(node, values)
        for name in node.outputs:
            root = program.lowering.root(name) if name else ""
            if root in program.arena_plan.offsets or root in self._arrays or root in program.state.variables:
                self._view(name, flat)[...] = values[name]

    def _view(self, name: str, flat: bool = False) -> Array:
        """A tensor as an array. flat: what belongs to a variable comes in the variable's own order."""
        program, arena_plan = self.program, self.program.arena_plan
        root, spec = program.lowering.root(name), program.network.specs[name]
        variable = program.lowering.variable_of(name) or program.lowering.variable_of(root)
        if flat and variable:
            spec = TensorSpec((variable.size,), spec.dtype)
        if root in program.state.variables:
            own = program.state.variables[root]
            return own.storage.reshape(spec.dims) if flat or own.is_plain else own.value()
        if root in program.network.values:
            return program.network.values[root].reshape(spec.dims)
        if root in self._inputs or root in self._arrays:
            return (self._inputs[root] if root in self._inputs else self._arrays[root]).reshape(spec.dims)
        if not flat and variable and not variable.is_plain:
            stored = TensorSpec((variable.size,), spec.dtype)
            return variable.canonical(self.arena.view(arena_plan.offsets[root], stored)).reshape(spec.dims)
        return self.arena.view(arena_plan.offsets[root], spec)


class Parts:
    """One run in parts: up to an instruction or for a time, and gone on with later, with the same bits.

    Inputs and outputs must stay as they are meanwhile. What a training program updates changes as it goes.
    """

    def __init__(self, binding: Binding, team: Team, inputs: Mapping[str, Array]) -> None:
        self._binding, self._team, self._is_read = binding, team, False
        self.done, self.length = 0, len(binding.program.instructions)
        with team.lock:
            binding.begin(inputs)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.done >= self.length

    def go_on(self, instructions: int | None = None, seconds: float | None = None) -> bool:
        """Run to the end, or `instructions`, or for `seconds`; whether it is finished now.

        seconds : no instruction begins later, but for the first one; the one that runs then is finished
        """
        if instructions is not None and (not isinstance(instructions, int) or instructions < 1):
            raise GraphError(
                f"run: expected 1 instruction or more, got {instructions!r}; leave it out to run to the end"
            )
        if seconds is not None and not 0 <= seconds < float("inf"):
            raise GraphError(
                f"run: expected a time of 0 seconds or more, got {seconds!r}; leave it out to run to the end"
            )
        end = self.length if instructions is None else min(self.done + instructions, self.length)
        start = time.perf_counter()
        while self.done < end:
            step = end if seconds is None else self.done + 1
            with self._team.lock:
                self._binding.execute(self.done, step)
            self.done = step
            if seconds is not None and time.perf_counter() - start >= seconds:
                break
        return self.is_finished

    def results(self) -> dict[str, Array]:
        """The outputs; once.

        raise : GraphError if something is left to do, or they were read before
        """
        if not self.is_finished:
            raise GraphError(f"run: expected all {self.length} instructions done, got {self.done}; go on first")
        if self._is_read:
            raise GraphError("run: expected results to be read once, got a second time; keep them")
        self._is_read = True
        return self._binding.results()
