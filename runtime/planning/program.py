"""A planned model for one set of input shapes: instructions, and memory for them.

Argument words are filled in once; only the addresses of inputs and outputs change from run to run. Nodes without a
kernel for their dtype run as their NumPy reference between kernels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from alula.runtime.errors import MemoryBudgetError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.aligned import aligned, is_checking
from alula.runtime.memory.arena import Arena
from alula.runtime.memory.variables import State
from alula.runtime.memory.weights import WeightStore
from alula.runtime.ops.contract import find
from alula.runtime.ops.epilogue import unfuse
from alula.runtime.planning.arena import plan_arena
from alula.runtime.planning.binding import Binding, Parts, Tables
from alula.runtime.planning.call import Call
from alula.runtime.planning.checking import prove_arena, prove_updates, spaced
from alula.runtime.planning.lowering import Instruction
from alula.runtime.planning.nodes import lowered
from alula.runtime.planning.prefetch import prefetch
from alula.runtime.planning.specialise import Specialised
from alula.runtime.threads import Team

TINY = 1 << 16  # multiply-adds and elements of a run that is over before another thread is awake


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
    layout      : where buffers of `sizes` bytes lie in the arena
    outputs     : the buffers that become output arrays
    made        : tables that were made for it alone
    is_tiny     : it runs on the caller's thread alone; not while checking, which is to see all threads
    call        : the shortest way through it, if it is small enough
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
        self.network, self.arena, self.team, self.store, self.state = network, arena, team, store, state or State()
        self.lowering = lowering = lowered(network, store, tiles, team.n_threads, self.state)
        self.instructions: list[Instruction] = lowering.instructions
        self.outputs = self._choose_outputs()
        variables = self.state.variables
        external = {*network.inputs, *self.outputs, *variables}
        self.sizes = sizes = dict(lowering.sizes)
        for instruction in self.instructions:
            for name in instruction.named:
                if name in network.specs and name not in external and name not in network.values:
                    sizes[name] = lowering.storage(name)[1] * network.specs[name].itemsize
        prefetch(self.instructions, {name: variable.nbytes for name, variable in variables.items()})
        self.arena_plan = plan_arena(self.instructions, sizes)
        self.arena_bytes = self.arena_plan.nbytes
        if is_checking():
            self._prove()
        self.made = {name: aligned(table) for name, table in lowering.tables.items()}
        memory = self.memory
        if max_bytes is not None and memory.total > max_bytes:
            kept = f" and {memory.variables:,} for what is trained" if memory.variables else ""
            raise MemoryBudgetError(
                f"program: expected at most {max_bytes:,} bytes, got {memory.activations:,} for activations, "
                f"{memory.weights:,} for weights{kept}; use a smaller input or raise the budget"
            )
        self.references = tuple(i for i, each in enumerate(self.instructions) if each.kernel is None)
        self.is_tiny = not variables and not is_checking() and self._is_tiny()
        self._tables = Tables(self.instructions, {*network.inputs, *self.outputs} - set(variables))
        self._binding = Binding(self, self.arena, self._tables)
        self.call = Call(self, self._binding) if Call.fits(self, self._binding) else None

    def _is_tiny(self) -> bool:
        network = self.network
        names = (*network.inputs, *(name for node in network.nodes for name in node.outputs if name))
        size = sum(network.specs[name].size for name in names)
        return size <= TINY and size + self.macs <= TINY

    def _prove(self) -> None:
        """Prove the plan, and move to memory of its own that shows what goes wrong."""
        prove_arena(self.instructions, self.sizes, self.arena_plan)
        prove_updates(self.instructions, self.lowering, self.state.updates)
        self.arena_plan, self.arena = spaced(self.instructions, self.sizes, self.arena_plan), Arena()

    def address(self, name: str) -> int:
        """Where a buffer lies that is not in the arena, and no input or output."""
        if name in self.made:
            return int(self.made[name].ctypes.data)
        return self.state.variables.address(name) if name in self.state.variables else self.store.address(name)

    @property
    def results(self) -> tuple[str, ...]:
        """The outputs that a run returns: all but those that are written into variables."""
        return tuple(name for name in self.network.outputs if name not in self.state.updates)

    @property
    def memory(self) -> Memory:
        """What it needs; programs of one model or trainer share all three kinds."""
        tables = sum(table.nbytes for table in self.made.values())
        return Memory(self.arena_bytes, self.store.nbytes + tables, self.state.variables.nbytes)

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
            return self._binding.run(inputs)

    def parts(self, inputs: Mapping[str, Array]) -> Parts:
        """A run that can stop and go on, on memory of its own: other programs may run in between."""
        for name, spec in self.network.inputs.items():
            got = TensorSpec.of(inputs[name]) if name in inputs else "nothing"
            if name not in self.state.variables and (got != spec or not inputs[name].flags.c_contiguous):
                raise ShapeError(f"input {name}: expected a contiguous {spec}, got {got}; give what was planned")
        return Parts(Binding(self, Arena(), self._tables.copied()), self.team, inputs)

    def profile(
        self, inputs: Mapping[str, Array], rounds: int = 10, clock: Callable[[], Any] = time.perf_counter
    ) -> list[tuple[Instruction, Any]]:
        """What each instruction costs on average, run one at a time; a reference node counts its Python, too.

        clock : what is read before and after: seconds, or counters of another kind
        """
        costs: list[Any] = [0] * len(self.instructions)
        with self.team.lock:
            self._binding.begin(inputs)
            for _ in range(rounds):
                for i in range(len(self.instructions)):
                    start = clock()
                    self._binding.execute(i, i + 1)
                    costs[i] += clock() - start
        return [(instruction, total / rounds) for instruction, total in zip(self.instructions, costs, strict=True)]

    def _choose_outputs(self) -> dict[str, TensorSpec]:
        """The buffers that become output arrays: computed ones that are not inputs."""
        chosen = {}
        for name in self.results:
            root = self.lowering.root(name)
            if not any(root in known for known in (self.network.values, self.network.inputs, self.state.variables)):
                chosen[root] = self.network.specs[root]
        return chosen
