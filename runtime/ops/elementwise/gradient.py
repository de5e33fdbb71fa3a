"""Gradients of element-wise arithmetic; an operand that was broadcast gets the sum over its copies."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


@rule("Add", "Sub")
def add(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY to both; the subtrahend gets its negative."""
    found = []
    for i, name in enumerate(node.inputs):
        part = tape.reduced(gradients[0], name) if tape.wants(name) else ""
        found.append(tape.node("Neg", [part]) if part and i and node.op == "Sub" else part)
    return found


@rule("Mul")
def mul(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY times the other factor."""
    a, b = node.inputs
    return [
        tape.reduced(tape.node("Mul", [gradients[0], other]), name) if tape.wants(name) else ""
        for name, other in ((a, b), (b, a))
    ]


@rule("Div")
def div(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dA = dY / B, dB = -dY Y / B."""
    (a, b), (grad_y,) = node.inputs, gradients
    grad_a = grad_bias = ""
    share = tape.node("Div", [grad_y, b])
    if tape.wants(a):
        grad_a = tape.reduced(share, a)
    if tape.wants(b):
        grad_bias = tape.reduced(tape.node("Neg", [tape.node("Mul", [share, node.outputs[0]])]), b)
    return grad_a, grad_bias


@rule("Min", "Max")
def extreme(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY to the operand that was chosen, in equal shares where several are equal (torch.maximum's convention)."""
    (grad_y,), y = gradients, node.outputs[0]
    chosen = [tape.node("Cast", [tape.node("Equal", [name, y])], to="float32") for name in node.inputs]
    total = chosen[0]
    for one in chosen[1:]:
        total = tape.node("Add", [total, one])
    share = tape.node("Div", [grad_y, total])
    return [
        tape.reduced(tape.node("Mul", [share, one]), name) if tape.wants(name) else ""
        for name, one in zip(node.inputs, chosen, strict=True)
    ]


@rule("Pow")
def power(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dA = dY B A^(B - 1), dB = dY Y log A."""
    (a, b), (grad_y,) = node.inputs, gradients
    grad_a = grad_bias = ""
    if tape.wants(a):
        exponent = tape.node("Cast", [b], to="float32") if tape.spec(b).dtype != "float32" else b
        if tape.value(b) is not None and tape.spec(b).size == 1:
            value = float(tape.value(b).reshape(-1)[0])  # type: ignore[union-attr]
            slope = a if value == 2 else tape.node("Pow", [a, tape.constant(value - 1)])
            grad_a = tape.node("Mul", [tape.node("Mul", [grad_y, slope]), tape.constant(value)])
        else:
            slope = tape.node("Pow", [a, tape.node("Sub", [exponent, tape.constant(1.0)])])
            grad_a = tape.node("Mul", [tape.node("Mul", [grad_y, slope]), exponent])
        grad_a = tape.reduced(grad_a, a)
    if tape.wants(b):
        grad_bias = tape.reduced(
            tape.node("Mul", [tape.node("Mul", [grad_y, node.outputs[0]]), tape.node("Log", [a])]), b
        )
    return grad_a, grad_bias


@rule("Where")
def where(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY to the side that was taken."""
    (condition, a, b), (grad_y,) = node.inputs, gradients
    zero = tape.constant(0.0)
    grad_a = tape.reduced(tape.node("Where", [condition, grad_y, zero]), a) if tape.wants(a) else ""
    grad_bias = tape.reduced(tape.node("Where", [condition, zero, grad_y]), b) if tape.wants(b) else ""
    return "", grad_a, grad_bias


@rule("Neg")
def neg(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """-dY."""
    return (tape.node("Neg", [gradients[0]]),)


@rule("Abs")
def absolute(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY times the sign."""
    return (tape.node("Mul", [gradients[0], tape.node("Sign", [node.inputs[0]])]),)


@rule("Exp")
def exp(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY Y."""
    return (tape.node("Mul", [gradients[0], node.outputs[0]]),)


@rule("Log")
def log(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY / X."""
    return (tape.node("Div", [gradients[0], node.inputs[0]]),)


@rule("Sqrt")
def sqrt(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY / (2 Y)."""
    return (tape.node("Mul", [tape.node("Div", [gradients[0], node.outputs[0]]), tape.constant(0.5)]),)


@rule("Reciprocal")
def reciprocal(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """-dY Y^2."""
    y = node.outputs[0]
    return (tape.node("Neg", [tape.node("Mul", [gradients[0], tape.node("Mul", [y, y])])]),)


@rule("Sin")
def sin(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY cos X."""
    return (tape.node("Mul", [gradients[0], tape.node("Cos", [node.inputs[0]])]),)


@rule("Cos")
def cos(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """-dY sin X."""
    return (tape.node("Neg", [tape.node("Mul", [gradients[0], tape.node("Sin", [node.inputs[0]])])]),)


@rule("Identity", "Dropout")
def identity(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY; a Dropout of the graph is one that does not drop."""
    return gradients[0], *[""] * (len(node.inputs) - 1)


@rule("Cast")
def cast(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY in the input's dtype."""
    return (tape.node("Cast", [gradients[0]], to=tape.spec(node.inputs[0]).dtype),)


@rule("Floor", "Ceil", "Round", "Sign")
def flat(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Zero: the result does not move with the input."""
    return (tape.node("Mul", [gradients[0], tape.constant(0.0)]),)
