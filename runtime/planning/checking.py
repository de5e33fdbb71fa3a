"""ALULA_CHECK=1: every plan is proved, and programs run on memory that exposes wrong reads and writes.

The proof: no two buffers that are alive at the same time share a byte, and no variable is overwritten while a node
must still read its old value, directly or through a view. The memory: each buffer has its own place with guard bytes around
it. All of it, also output arrays and the padding of packed weights, is poison (NaN as float32) before each run. The tests run
like this. It costs memory and time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alula.runtime.graph import Array, TensorSpec
from alula.runtime.memory.aligned import POISON
from alula.runtime.planning.arena import ALIGNMENT, ArenaPlan, lifetimes
from alula.runtime.planning.lowering import Instruction, Lowering

GUARD = 4 * ALIGNMENT  # bytes before and after each buffer


def prove_arena(instructions: Sequence[Instruction], sizes: Mapping[str, int], arena_plan: ArenaPlan) -> None:
    """Fail if two buffers that are alive at the same time share a byte, and neither is written over the other in place."""
    spans = {name: span for name, span in lifetimes(instructions).items() if name in sizes}
    begins: dict[int, list[str]] = {}
    for name, (first, _) in spans.items():
        begins.setdefault(first, []).append(name)
    alive: set[str] = set()
    for i, instruction in enumerate(instructions):
        alive = {name for name in alive if spans[name][1] >= i}
        for name in begins.get(i, ()):
            begin = arena_plan.offsets[name]
            for other in alive:
                at = arena_plan.offsets[other]
                apart = begin + sizes[name] <= at or at + sizes[other] <= begin
                if apart:
                    continue
                takes_over = (
                    instruction.inplace and instruction.inplace[0] == name and spans[other][1] == i and at == begin
                )
                assert takes_over, f"{instruction.node.label}: {name} lies on {other}, which is still read"
            alive.add(name)


def prove_updates(instructions: Sequence[Instruction], lowering: Lowering, updates: Mapping[str, str]) -> None:
    """Fail if a variable has its new value before everyone has read the old one, or is read as new before it is."""
    written: dict[str, list[int]] = {}
    for i, instruction in enumerate(instructions):
        for name in instruction.node.outputs:
            if name in updates:
                written.setdefault(updates[name], []).append(i)
    for i, instruction in enumerate(instructions):
        own = {updates[name] for name in instruction.node.outputs if name in updates}
        for name in instruction.node.reads:
            variable, is_new = _read(name, lowering, updates)
            if variable not in written or variable in own:
                continue
            in_order = i > written[variable][-1] if is_new else i < written[variable][0]
            assert in_order, f"{instruction.node.label}: reads {name} after {variable} was overwritten, or before"


def _read(name: str, lowering: Lowering, updates: Mapping[str, str]) -> tuple[str, bool]:
    """The buffer that a tensor is, and whether it is what an update made."""
    is_new = name in updates
    while name in lowering.aliases:
        name = lowering.aliases[name]
        is_new = is_new or name in updates
    return name, is_new


def spaced(instructions: Sequence[Instruction], sizes: Mapping[str, int], arena_plan: ArenaPlan) -> ArenaPlan:
    """A layout in which buffers share memory only where one is written over the other in place; all have guards."""
    over = {each.inplace[0]: each.inplace[1] for each in instructions if each.inplace}
    offsets: dict[str, int] = {}
    at = GUARD
    for name in arena_plan.offsets:
        if name not in over:
            offsets[name] = at
            at += -(-sizes[name] // ALIGNMENT) * ALIGNMENT + GUARD
    offsets.update({name: offsets[root] for name, root in over.items()})
    return ArenaPlan(offsets, at)


class Watch:
    """The poisoned memory of one program, laid out by `spaced`."""

    def __init__(self, sizes: Mapping[str, int], arena_plan: ArenaPlan) -> None:
        ends: dict[int, tuple[int, str]] = {}
        for name, offset in arena_plan.offsets.items():
            ends[offset] = max(ends.get(offset, (0, "")), (offset + sizes[name], name))
        self._guards = [(begin - GUARD, begin, name) for begin, (_, name) in ends.items()]
        self._guards += [(end, end + GUARD, name) for end, name in ends.values()]
        self._outputs: list[tuple[str, Array, int]] = []

    def outputs(self, specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
        """New arrays for outputs, with guards."""
        made = {}
        self._outputs = []
        for name, spec in specs.items():
            raw = np.full(spec.nbytes + 2 * GUARD + ALIGNMENT, POISON, np.uint8)
            begin = GUARD + -(raw.ctypes.data + GUARD) % ALIGNMENT
            made[name] = raw[begin : begin + spec.nbytes].view(spec.dtype).reshape(spec.dims)
            self._outputs.append((name, raw, begin))
        return made

    @staticmethod
    def poison(memory: Array) -> None:
        """Make every byte of the arena poison."""
        memory[:] = POISON

    def check(self, memory: Array, specs: Mapping[str, TensorSpec]) -> None:
        """Fail if a guard was written to."""
        touched = [name for begin, end, name in self._guards if (memory[begin:end] != POISON).any()]
        for name, raw, begin in self._outputs:
            if (raw[:begin] != POISON).any() or (raw[begin + specs[name].nbytes :] != POISON).any():
                touched.append(name)
        assert not touched, f"a kernel wrote outside of {touched[0]}"
