"""Gelu from its definition: x * (1 + erf(x / sqrt(2))) / 2, the product taken in any order."""

from __future__ import annotations

import math

from alula.runtime.graph import Graph, Node
from alula.runtime.passes.operands import factor, is_near, other_operand, scalar_operand
from alula.runtime.passes.rewrite import Rewrite, make_node


def fuse_gelu(graph: Graph) -> Graph:
    """The Erf form -> Gelu."""
    rewrite = Rewrite(graph)
    for erf in rewrite.nodes("Erf"):
        scale = rewrite.maker(erf.inputs[0])
        scaled, plus = factor(rewrite, scale), rewrite.only_reader(erf.outputs[0], "Add")
        shifted = scalar_operand(rewrite, plus)
        if erf.fused or scale is None or scaled is None or plus is None or shifted is None:
            continue
        if (
            not is_near(scaled[1], math.sqrt(0.5))
            or shifted[1] != 1
            or rewrite.only_reader(scale.outputs[0]) is not erf
        ):
            continue
        found = _product(rewrite, scaled[0], plus)
        if found:
            last = found[-1]
            gelu = make_node("Gelu", [scaled[0]], last.outputs[0], last.name)
            rewrite.exchange([scale, erf, plus, *found], [gelu])
    return rewrite.graph()


def _product(rewrite: Rewrite, x: str, plus: Node) -> list[Node]:
    """The nodes that multiply x, 1/2 and the result of `plus`; the last one gives the product."""
    first = rewrite.only_reader(plus.outputs[0], "Mul", "Div")
    if first is None:
        return []
    halved = factor(rewrite, first)
    other = other_operand(first, plus.outputs[0])
    if halved is not None and is_near(halved[1], 0.5):  # x * (plus / 2)
        last = rewrite.only_reader(first.outputs[0], "Mul")
        return [first, last] if last is not None and other_operand(last, first.outputs[0]) == x else []
    if first.op != "Mul" or other is None:
        return []
    if other == x:  # (x * plus) / 2
        last = rewrite.only_reader(first.outputs[0], "Mul", "Div")
        halved = factor(rewrite, last)
        return [first, last] if last is not None and halved is not None and is_near(halved[1], 0.5) else []
    half = rewrite.maker(other)  # (x / 2) * plus
    halved = factor(rewrite, half)
    if half is None or halved is None or halved[0] != x or not is_near(halved[1], 0.5):
        return []
    return [half, first] if rewrite.only_reader(other) is first else []
