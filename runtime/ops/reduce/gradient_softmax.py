"""Gradients of softmax."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


def _sum(tape: Tape, name: str, axis: int) -> str:
    rank = len(tape.spec(name).dims)
    return str(tape.node("ReduceSum", [name, tape.constant([axis % rank], "int64")], keepdims=1))


@rule("Softmax")
def softmax(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """(dY - sum(dY Y)) Y."""
    (grad_y,), y = gradients, node.outputs[0]
    mean = _sum(tape, tape.node("Mul", [grad_y, y]), node.attrs.axis)
    return (tape.node("Mul", [tape.node("Sub", [grad_y, mean]), y]),)


@rule("LogSoftmax")
def log_softmax(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY - exp(Y) sum(dY)."""
    (grad_y,), y = gradients, node.outputs[0]
    share = tape.node("Mul", [tape.node("Exp", [y]), _sum(tape, grad_y, node.attrs.axis)])
    return (tape.node("Sub", [grad_y, share]),)
