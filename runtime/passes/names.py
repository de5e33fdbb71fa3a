"""A constant that a pass replaced gets its old name back if the old form is gone: users know that name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from alula.runtime.graph import Arrays, Graph
from alula.runtime.passes.rewrite import renamed

CHANNELS_LAST = ".channels_last"  # how the name of a tensor ends that is in that order
TRIMMED = ".trimmed"  # of a constant without leading ones
SUFFIXES = (CHANNELS_LAST, ".transposed", TRIMMED)


def restore_names(graph: Graph) -> Graph:
    """`fc.bias.trimmed` becomes `fc.bias` if nothing else has that name."""
    taken = {*graph.inputs, *graph.constants, *_tensors(graph)}
    names: dict[str, str] = {}
    for name in graph.constants:
        plain = name
        while suffix := next((suffix for suffix in SUFFIXES if plain.endswith(suffix)), ""):
            plain = plain.removesuffix(suffix)
        if plain != name and plain and plain not in taken:
            names[name] = plain
            taken.add(plain)
    if not names:
        return graph
    nodes = tuple(renamed(node, lambda tensor: names.get(tensor, tensor)) for node in graph.nodes)
    outputs = tuple(names.get(tensor, tensor) for tensor in graph.outputs)
    constants = Arrays({names.get(name, name): graph.constants[name] for name in graph.constants})
    return replace(graph, nodes=nodes, constants=constants, outputs=outputs)


def _tensors(graph: Graph) -> Iterable[str]:
    for node in graph.nodes:
        for part in (node, *node.fused):
            yield from part.inputs
            yield from part.outputs
