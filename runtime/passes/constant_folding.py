"""Compute what depends only on constants."""

from __future__ import annotations

from alula.runtime.graph import Array, Graph, Node
from alula.runtime.passes.rewrite import Draft
from alula.runtime.planning.reference import run_node

# A constant of 20 numbers that Expand blows up to an image is better expanded when the program runs
MOST_BYTES = 1 << 20
MOST_GROWTH = 4


def fold_constants(graph: Graph) -> Graph:
    """Replace every node whose inputs are all constants by its result."""
    draft = Draft(graph)
    for node in draft.nodes():
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
                kept = _only_weight(draft, node)
                draft.exchange([node], [])
                if kept:  # users know the weight by that name, whatever its form
                    draft.redirect(node.outputs[0], kept)
                    results = {kept: results[node.outputs[0]]}
                for name, value in results.items():
                    draft.define(name, value)
    return draft.graph()


def _only_weight(draft: Draft, node: Node) -> str:
    """The one float tensor of several elements that a node of one output reads, and alone; "" if there is none."""
    weights = []
    for name in dict.fromkeys(node.reads):
        value = draft.value(name)
        if value is not None and value.dtype.kind == "f" and value.size > 1:
            weights.append(name)
    alone = len(weights) == 1 and len(node.outputs) == 1 and draft.only_reader(weights[0]) is node
    return weights[0] if alone else ""
