"""HardSigmoid and HardSwish from the arithmetic that exporters write."""

from __future__ import annotations

from alula.runtime.graph import Graph, Node
from alula.runtime.passes.operands import factor, is_near, other_operand, scalar_operand
from alula.runtime.passes.rewrite import Draft, make_node


def fuse_hard_swish(graph: Graph) -> Graph:
    """clip(x + b, 0, c) / c -> HardSigmoid; x * clip(x + 3, 0, 6) / 6 and x * HardSigmoid(x, 1/6, 1/2) -> HardSwish."""
    draft = Draft(graph)
    for clip in draft.nodes("Clip"):
        if len(clip.inputs) == 3 and not clip.fused and draft.scalar(clip.inputs[1]) == 0:
            high = draft.scalar(clip.inputs[2])
            if high is not None and high > 0:
                _sigmoid_or_swish(draft, clip, high)
    for gate in draft.nodes("HardSigmoid"):
        product = draft.only_reader(gate.outputs[0], "Mul")
        if gate.fused or not is_near(gate.attrs.alpha, 1 / 6) or not is_near(gate.attrs.beta, 0.5) or product is None:
            continue
        x = gate.inputs[0]
        if other_operand(product, gate.outputs[0]) == x:
            draft.exchange([gate, product], [make_node("HardSwish", [x], product.outputs[0], product.name)])
    return draft.graph()


def _sigmoid_or_swish(draft: Draft, clip: Node, high: float) -> None:
    shift = draft.maker(clip.inputs[0], "Add")
    shifted = scalar_operand(draft, shift)
    if shift is None or shifted is None or draft.only_reader(shift.outputs[0]) is not clip:
        return
    x, number = shifted
    if high == 1:
        _scaled_sigmoid(draft, clip, shift, x, number)
        return
    after = draft.only_reader(clip.outputs[0], "Mul", "Div")
    if after is None:
        return
    scaled = factor(draft, after)
    if scaled is not None and is_near(scaled[1], 1 / high):
        gate = make_node("HardSigmoid", [x], after.outputs[0], after.name, alpha=1 / high, beta=number / high)
        draft.exchange([shift, clip, after], [gate])
        return
    if after.op == "Mul" and number == 3 and high == 6 and other_operand(after, clip.outputs[0]) == x:
        last = draft.only_reader(after.outputs[0], "Mul", "Div")
        scaled = factor(draft, last)
        if last is not None and scaled is not None and is_near(scaled[1], 1 / 6):
            draft.exchange([shift, clip, after, last], [make_node("HardSwish", [x], last.outputs[0], last.name)])


def _scaled_sigmoid(draft: Draft, clip: Node, shift: Node, x: str, beta: float) -> None:
    """clip(alpha * x + beta, 0, 1)."""
    scale = draft.maker(x)
    scaled = factor(draft, scale)
    if scale is None or scaled is None or draft.only_reader(x) is not shift:
        return
    gate = make_node("HardSigmoid", [scaled[0]], clip.outputs[0], clip.name, alpha=scaled[1], beta=beta)
    draft.exchange([scale, shift, clip], [gate])
