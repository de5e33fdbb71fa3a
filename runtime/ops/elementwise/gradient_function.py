"""Gradients of trigonometric and hyperbolic functions."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


def _square(tape: Tape, name: str) -> str:
    return str(tape.node("Mul", [name, name]))


@rule("Tan")
def tan(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY (1 + Y^2)."""
    slope = tape.node("Add", [_square(tape, node.outputs[0]), tape.constant(1.0)])
    return (tape.node("Mul", [gradients[0], slope]),)


@rule("Sinh", "Cosh")
def hyperbolic(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Each has the other as its slope."""
    other = tape.node("Cosh" if node.op == "Sinh" else "Sinh", [node.inputs[0]])
    return (tape.node("Mul", [gradients[0], other]),)


@rule("Asin", "Acos", "Asinh", "Acosh")
def inverse(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY / sqrt(1 - X^2), sqrt(1 + X^2) or sqrt(X^2 - 1); the negative of it for the arc cosine."""
    square, one = _square(tape, node.inputs[0]), tape.constant(1.0)
    if node.op == "Asinh":
        under = tape.node("Add", [square, one])
    else:
        under = tape.node("Sub", [square, one] if node.op == "Acosh" else [one, square])
    part = tape.node("Div", [gradients[0], tape.node("Sqrt", [under])])
    return (tape.node("Neg", [part]) if node.op == "Acos" else part,)


@rule("Atan", "Atanh")
def inverse_tangent(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY / (1 + X^2), or (1 - X^2) for the hyperbolic one."""
    square, one = _square(tape, node.inputs[0]), tape.constant(1.0)
    under = tape.node("Add" if node.op == "Atan" else "Sub", [one, square])
    return (tape.node("Div", [gradients[0], under]),)
