"""Compute what follows from constants alone."""

from __future__ import annotations

from alula.runtime.graph import Array, Graph
from alula.runtime.passes.draft import Draft
from alula.runtime.reference import run_node

# A constant of 20 numbers that Expand blows up to a picture is better expanded when the program runs
MOST_BYTES = 1 << 20
MOST_GROWTH = 4


def fold_constants(graph: Graph) -> Graph:
    """Replace every node whose inputs are all constants by its result."""
    draft = Draft(graph)
    for node in list(draft.nodes()):
        if not node.inputs or node.op.startswith("Random") or any(name in draft.outputs for name in node.outputs):
            continue
        values: dict[str, Array] = {}
        for name in node.reads:
            value = draft.value(name)
            if value is None:
                break
            values[name] = value
        else:
            read = sum(value.nbytes for value in values.values())
            run_node(node, values)
            results = {name: values[name] for name in node.outputs if name}
            if sum(value.nbytes for value in results.values()) <= max(MOST_BYTES, MOST_GROWTH * read):
                draft.exchange([node], [])
                for name, value in results.items():
                    draft.define(name, value)
    return draft.graph()
