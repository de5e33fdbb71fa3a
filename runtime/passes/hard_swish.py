"""HardSigmoid and HardSwish from the arithmetic that exporters write."""

from __future__ import annotations

from alula.runtime.graph import Graph, Node
from alula.runtime.passes.operands import factor, is_near, other_operand, scalar_operand
from alula.runtime.passes.rewrite import Rewrite, make_node


def fuse_hard_swish(graph: Graph) -> Graph:
    """clip(x + b, 0, c) / c -> HardSigmoid; x * clip(x + 3, 0, 6) / 6 and x * HardSigmoid(x, 1/6, 1/2) -> HardSwish."""
    rewrite = Rewrite(graph)
    for clip in rewrite.nodes("Clip"):
        if len(clip.inputs) == 3 and not clip.fused and rewrite.scalar(clip.inputs[1]) == 0:
            high = rewrite.scalar(clip.inputs[2])
            if high is not None and high > 0:
                _sigmoid_or_swish(rewrite, clip, high)
    for gate in rewrite.nodes("HardSigmoid"):
        product = rewrite.only_reader(gate.outputs[0], "Mul")
        if gate.fused or not is_near(gate.attrs.alpha, 1 / 6) or not is_near(gate.attrs.beta, 0.5) or product is None:
            continue
        x = gate.inputs[0]
        if other_operand(product, gate.outputs[0]) == x:
            rewrite.exchange([gate, product], [make_node("HardSwish", [x], product.outputs[0], product.name)])
    return rewrite.graph()


def _sigmoid_or_swish(rewrite: Rewrite, clip: Node, high: float) -> None:
    shift = rewrite.maker(clip.inputs[0], "Add")
    shifted = scalar_operand(rewrite, shift)
    if shift is None or shifted is None or rewrite.only_reader(shift.outputs[0]) is not clip:
        return
    x, number = shifted
    if high == 1:
        _scaled_sigmoid(rewrite, clip, shift, x, number)
        return
    after = rewrite.only_reader(clip.outputs[0], "Mul", "Div")
    if after is None:
        return
    scaled = factor(rewrite, after)
    if scaled is not None and is_near(scaled[1], 1 / high):
        gate = make_node("HardSigmoid", [x], after.outputs[0], after.name, alpha=1 / high, beta=number / high)
        rewrite.exchange([shift, clip, after], [gate])
        return
    if after.op == "Mul" and number == 3 and high == 6 and other_operand(after, clip.outputs[0]) == x:
        last = rewrite.only_reader(after.outputs[0], "Mul", "Div")
        scaled = factor(rewrite, last)
        if last is not None and scaled is not None and is_near(scaled[1], 1 / 6):
            rewrite.exchange([shift, clip, after, last], [make_node("HardSwish", [x], last.outputs[0], last.name)])


def _scaled_sigmoid(rewrite: Rewrite, clip: Node, shift: Node, x: str, beta: float) -> None:
    """clip(alpha * x + beta, 0, 1)."""
    scale = rewrite.maker(x)
    scaled = factor(rewrite, scale)
    if scale is None or scaled is None or rewrite.only_reader(x) is not shift:
        return
    gate = make_node("HardSigmoid", [scaled[0]], clip.outputs[0], clip.name, alpha=scaled[1], beta=beta)
    rewrite.exchange([scale, shift, clip], [gate])
