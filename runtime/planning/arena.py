"""Memory: from the lifetimes of buffers to offsets in one arena.

A buffer lives from the first instruction that names it to the last. Large buffers are placed first, each at the
lowest offset that is free during its life. "Large" is tried in two ways, by bytes and by bytes times life; the one that
needs less memory wins.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence

from alula.runtime.frozen import frozen
from alula.runtime.planning.lowering import Instruction

ALIGNMENT = 64


@frozen
class ArenaPlan:
    """Where each buffer lies.

    offsets : byte offset in the arena
    nbytes  : size of the arena
    """

    offsets: dict[str, int]
    nbytes: int


def lifetimes(instructions: Sequence[Instruction]) -> dict[str, tuple[int, int]]:
    """First and last instruction that names each buffer."""
    spans: dict[str, tuple[int, int]] = {}
    for i, instruction in enumerate(instructions):
        for name in instruction.named:
            spans[name] = (spans[name][0] if name in spans else i, i)
    return spans


def plan_arena(instructions: Sequence[Instruction], sizes: Mapping[str, int]) -> ArenaPlan:
    """Place the buffers in `sizes` (bytes); other buffers lie elsewhere (inputs, outputs, weights)."""
    spans = lifetimes(instructions)
    merged = _merge_in_place(instructions, sizes, spans)
    life = {name: last - first + 1 for name, (first, last) in merged.items()}
    orders = (
        sorted(merged, key=lambda n: (-sizes[n], -life[n])),
        sorted(merged, key=lambda n: -sizes[n] * life[n]),
    )
    offsets, nbytes = min((_place(order, merged, sizes) for order in orders), key=lambda found: found[1])
    for instruction in instructions:
        if instruction.inplace:
            offsets[instruction.inplace[0]] = offsets[instruction.inplace[1]]
    return ArenaPlan(offsets, nbytes)


def _place(
    order: Sequence[str], spans: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]
) -> tuple[dict[str, int], int]:
    """The offset of each buffer, placed in this order, and the bytes of all."""
    placed: list[tuple[int, int, int, int]] = []  # (offset, end, first, last), by offset
    offsets: dict[str, int] = {}
    for name in order:
        first, last = spans[name]
        need = max(-(-sizes[name] // ALIGNMENT) * ALIGNMENT, ALIGNMENT)
        at = 0
        for begin, end, born, dead in placed:
            if born <= last and first <= dead:
                if at + need <= begin:
                    break
                at = max(at, end)
        insort(placed, (at, at + need, first, last))
        offsets[name] = at
    return offsets, max((end for _, end, _, _ in placed), default=0)


def _merge_in_place(
    instructions: Sequence[Instruction], sizes: Mapping[str, int], spans: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Lifetimes of the buffers to place, after each output took over the memory of an input that dies with it."""
    merged = {name: spans[name] for name in sizes if name in spans}
    owner: dict[str, str] = {}
    for i, instruction in enumerate(instructions):
        if not instruction.inplace:
            continue
        output, source = instruction.inplace
        instruction.inplace = None
        if output not in merged or source not in sizes or source not in spans:
            continue
        root = owner.get(source, source)
        if spans[source][1] == i and spans[output][0] == i and sizes[output] <= sizes[root] and merged[root][1] == i:
            merged[root] = (merged[root][0], spans[output][1])
            del merged[output]
            owner[output] = root
            instruction.inplace = (output, root)
    return merged
