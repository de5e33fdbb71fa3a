"""Prefetch: while an instruction computes for long, it fetches variables that the next instructions read into the cache.

Weights and optimiser state are read once or twice in a step, so they come from far away. A layer's product takes longer than
that, so it prefetches a line of them now and then.
"""

from __future__ import annotations

from collections.abc import Mapping

from alula.runtime.kernels.memory import LINE
from alula.runtime.planning.lowering import Instruction, Ref

WAYS = (("ahead", "ahead_lines"), ("later", "later_lines"))  # arguments of such kernels: address, lines of the cache
MIN_BYTES = 4096  # of a variable; smaller ones are not worth it
MAX_LINES = 4096  # of all together: what still fits into a cache besides the product's own
RECENT = 40  # instructions: what one of the last ones named is near


def prefetch(instructions: list[Instruction], sizes: Mapping[str, int]) -> None:
    """Fill in what each such instruction asks for. sizes: bytes of the variables."""
    if not sizes:
        return
    able = [i for i, each in enumerate(instructions) if each.kernel and WAYS[0][0] in each.kernel.arguments]
    large = {name for name, nbytes in sizes.items() if nbytes >= MIN_BYTES}
    for i, end in zip(able, [*able, len(instructions)][1:], strict=True):
        # What is skipped has fetched nothing, and needs nothing
        before = [
            each for each in instructions[max(i - RECENT, 0) : i + 1] if each.guard in (None, instructions[i].guard)
        ]
        behind = [each for each in instructions[i + 1 : end] if each.guard in (None, instructions[i].guard)]
        wanted = large - {name for each in before for name in each.named}
        coming = [name for each in behind for name in each.named if name in wanted]
        instruction, left = instructions[i], MAX_LINES
        words, arguments = list(instruction.words), instruction.kernel.arguments  # type: ignore[union-attr]
        for name, (address, lines) in zip(dict.fromkeys(coming), WAYS, strict=False):
            count = min(sizes[name] // (4 * LINE), left)
            words[arguments.index(address)], words[arguments.index(lines)] = Ref(name), count
            left -= count
        instruction.words = words
