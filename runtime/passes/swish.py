"""Swish (SiLU) from a product: x * sigmoid(alpha * x)."""

from __future__ import annotations

from alula.runtime.graph import Graph
from alula.runtime.passes.operands import factor, other_operand
from alula.runtime.passes.rewrite import Rewrite, make_node


def fuse_swish(graph: Graph) -> Graph:
    """x * Sigmoid(alpha * x) -> Swish."""
    rewrite = Rewrite(graph)
    for gate in rewrite.nodes("Sigmoid"):
        product = rewrite.only_reader(gate.outputs[0], "Mul")
        if product is None or gate.fused:
            continue
        x = other_operand(product, gate.outputs[0])
        if x is None:
            continue
        if x == gate.inputs[0]:
            rewrite.exchange([gate, product], [make_node("Swish", [x], product.outputs[0], product.name)])
            continue
        scale = rewrite.maker(gate.inputs[0])
        scaled = factor(rewrite, scale)
        if (
            scale is not None
            and scaled is not None
            and scaled[0] == x
            and rewrite.only_reader(scale.outputs[0]) is gate
        ):
            swish = make_node("Swish", [x], product.outputs[0], product.name, alpha=scaled[1])
            rewrite.exchange([scale, gate, product], [swish])
    return rewrite.graph()
