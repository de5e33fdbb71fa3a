"""Softmax of the last axis, without the reshape to two dimensions that opsets before 13 require."""

from __future__ import annotations

from alula.runtime.graph import Graph
from alula.runtime.passes.rewrite import Rewrite, make_node
from alula.runtime.passes.shapes import Shapes


def straighten_softmax(graph: Graph) -> Graph:
    """Flatten at the last axis, Softmax, Reshape to the old shape -> Softmax."""
    shapes, rewrite = Shapes(graph), Rewrite(graph)
    for node in rewrite.nodes("Softmax", "LogSoftmax"):
        flat, back = (
            rewrite.maker(node.inputs[0], "Flatten", "Reshape"),
            rewrite.only_reader(node.outputs[0], "Reshape"),
        )
        if flat is None or back is None or node.fused or rewrite.only_reader(flat.outputs[0]) is not node:
            continue
        x, rows = shapes.shape(flat.inputs[0]), shapes.shape(flat.outputs[0])
        if x is None or rows is None or x != shapes.shape(back.outputs[0]):
            continue
        if x[-1] == rows[-1] and node.attrs.axis in (-1, len(rows) - 1):
            straight = make_node(node.op, [flat.inputs[0]], back.outputs[0], node.name, axis=-1)
            rewrite.exchange([flat, node, back], [straight])
    return rewrite.graph()
