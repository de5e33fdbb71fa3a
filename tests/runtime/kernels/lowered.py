"""Run a lowering rule by itself: its instructions over arrays, without a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from alula.runtime.compiler import library
from alula.runtime.compiler.loader import word_of
from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.kernels.tiles import for_cpu
from alula.runtime.planning.lowering import FnRef, Lowering, Ref, Word


def run(
    rule: Callable[[Lowering, Node], bool], op: str, attrs: Any, inputs: Mapping[str, Array],
    outputs: Mapping[str, tuple[int, ...]], known: Mapping[str, Array] | None = None, threads: int = 1,
    renewed: Mapping[str, str] | None = None,
) -> dict[str, Array]:  # fmt: skip
    """What a rule's instructions compute, every thread's share after the other.

    inputs  : in the node's order, by name; an empty name stands for an absent one
    known   : constants, which are the node's last inputs
    renewed : output -> the input whose memory it takes over
    """
    known, renewed = known or {}, renewed or {}
    names = (*inputs, *known)
    inputs = {name: array for name, array in inputs.items() if name}
    specs = {n: TensorSpec.of(a) for n, a in {**inputs, **known}.items()} | {
        n: TensorSpec(d) for n, d in outputs.items()
    }
    held: dict[str, Array] = {}

    def hold(key: str, make: Callable[[], Array]) -> str:
        held[key] = np.ascontiguousarray(make())
        return key

    lowering = Lowering(specs, known, known, for_cpu(library().cpu), threads, hold)
    for output, source in renewed.items():
        lowering.alias(output, source)
    lowering.node = Node(op, names, tuple(outputs), attrs)
    assert rule(lowering, lowering.node)
    results = {name: np.full(dims, np.nan, np.float32) for name, dims in outputs.items()}
    results.update((output, inputs[source]) for output, source in renewed.items())
    scratch = {name: np.full(size, 255, np.uint8) for name, size in lowering.sizes.items()}
    memory = {**inputs, **results, **scratch, **lowering.tables, **held}

    def word(value: Word) -> int:
        if isinstance(value, Ref):
            return int(memory[value.buffer].ctypes.data) + value.offset
        return library().address(value.kernel) if isinstance(value, FnRef) else word_of(value)

    for instruction in lowering.instructions:
        assert instruction.kernel is not None
        words = np.array([word(value) for value in instruction.words], np.int64)
        for tid in range(threads):
            library().function(instruction.kernel.name)(words.ctypes.data, tid, threads)
    return results
