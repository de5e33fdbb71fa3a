"""Gradients of losses."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


@rule("CrossEntropy")
def softmax_cross_entropy(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Probabilities less targets."""
    attrs = {name: getattr(node.attrs, name) for name in ("label_smoothing", "ignore_index", "reduction")}
    inputs = [gradients[0], node.outputs[1], *node.inputs[1:]]
    return tape.node("CrossEntropyGrad", inputs, **attrs), *[""] * (len(node.inputs) - 1)


@rule("CTCLoss")
def ctc(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """The gradient that was made with the loss."""
    return tape.node("Mul", [node.outputs[2], gradients[0]]), "", "", ""
