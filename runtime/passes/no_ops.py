"""Remove nodes that return their input unchanged."""

from __future__ import annotations

import numpy as np

from alula.runtime.graph import Graph, Node
from alula.runtime.passes.rewrite import Rewrite
from alula.runtime.passes.shapes import Shapes

# The operand that changes nothing, and the position that it must have ("any", or the second)
NEUTRAL = {"Add": (0.0, False), "Sub": (0.0, True), "Mul": (1.0, False), "Div": (1.0, True), "Pow": (1.0, True)}


def drop_no_ops(graph: Graph) -> Graph:
    """Remove Identity, Dropout, Cast to the same dtype, Transpose and Reshape to the same order, x + 0, x * 1."""
    shapes, rewrite = Shapes(graph), Rewrite(graph)
    for node in rewrite.nodes():
        source = _same_as(node, rewrite, shapes)
        if source:
            rewrite.bypass(node, source)
    return rewrite.graph()


def _same_as(node: Node, rewrite: Rewrite, shapes: Shapes) -> str:
    """The tensor that the node's first output equals, or ""."""
    if node.fused or not node.inputs:
        return ""
    if any(name and (name in rewrite.outputs or rewrite.readers(name)) for name in node.outputs[1:]):
        return ""  # the mask of a Dropout
    x = node.inputs[0]
    if node.op == "Identity" or (node.op == "Concat" and len(node.inputs) == 1):
        return x
    if node.op == "Dropout":  # training mode is known to be off if it is not an input
        return x if len(node.inputs) < 3 or not node.inputs[2] or rewrite.scalar(node.inputs[2]) == 0 else ""
    if node.op in NEUTRAL and len(node.inputs) == 2:
        return _neutral(node, rewrite, shapes)
    before, after = shapes.spec(x), shapes.spec(node.outputs[0])
    if before is None or before != after:
        return ""
    if node.op in ("Cast", "Expand", "Reshape", "Flatten", "Squeeze", "Unsqueeze"):
        return x
    if node.op == "Transpose":
        return x if node.attrs.perm == tuple(range(len(before.shape))) else ""
    if node.op == "Pad":  # zero sizes can hide in pads that cancel: look at the numbers
        pads = rewrite.integers(node.inputs[1])
        return x if pads is not None and not any(pads) else ""
    return ""


def _neutral(node: Node, rewrite: Rewrite, shapes: Shapes) -> str:
    number, second = NEUTRAL[node.op]
    output = shapes.spec(node.outputs[0])
    for x, other in (node.inputs, node.inputs[::-1])[: 1 if second else 2]:
        value = rewrite.value(other) if output is not None and shapes.spec(x) == output else None
        if value is not None and value.size <= 1 << 16 and bool(np.all(value == number)):
            return x
    return ""
