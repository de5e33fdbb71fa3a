"""Compute what depends only on constants."""

from __future__ import annotations

from collections.abc import Mapping

from alula.runtime.graph import Array, Graph, Node, TensorSpec
from alula.runtime.ops.contract import infer
from alula.runtime.passes.rewrite import Rewrite
from alula.runtime.planning.reference import run_node

# A constant of 20 numbers that Expand blows up to an image is better expanded when the program runs
MAX_BYTES = 1 << 20
MAX_GROWTH = 4


def fold_constants(graph: Graph) -> Graph:
    """Replace every node whose inputs are all constants by its result."""
    rewrite = Rewrite(graph)
    for node in rewrite.nodes():
        if not node.inputs or node.op.startswith("Random") or any(name in rewrite.outputs for name in node.outputs):
            continue
        if node.op == "Branch":  # its flags tell the graph what holds something where (branches.py)
            continue
        values: dict[str, Array] = {}
        for name in node.reads:
            value = rewrite.value(name)
            if value is None:
                break
            values[name] = value
        else:
            read = sum(value.nbytes for value in values.values())
            _check(node, values)
            run_node(node, values)
            results = {name: values[name] for name in node.outputs if name}
            if sum(value.nbytes for value in results.values()) <= max(MAX_BYTES, MAX_GROWTH * read):
                kept = _only_weight(rewrite, node)
                rewrite.exchange([node], [])
                if kept:  # users know the weight by that name, whatever its form
                    rewrite.redirect(node.outputs[0], kept)
                    results = {kept: results[node.outputs[0]]}
                for name, value in results.items():
                    rewrite.define(name, value)
    return rewrite.graph()


def _check(node: Node, values: Mapping[str, Array]) -> None:
    """Let the op refuse what does not fit before its reference runs: a file's constants are not checked until then."""
    known = [values[name] if name else None for name in node.inputs]
    infer(node, [None if value is None else TensorSpec.of(value) for value in known], known)


def _only_weight(rewrite: Rewrite, node: Node) -> str:
    """The one float tensor of several elements that a node of one output reads, and alone; "" if there is none."""
    weights = []
    for name in dict.fromkeys(node.reads):
        value = rewrite.value(name)
        if value is not None and value.dtype.kind == "f" and value.size > 1:
            weights.append(name)
    alone = len(weights) == 1 and len(node.outputs) == 1 and rewrite.only_reader(weights[0]) is node
    return weights[0] if alone else ""
