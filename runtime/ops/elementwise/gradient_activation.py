"""Gradients of activations: the gradient of the result times the slope, as one node that fits an epilogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.ops.contract import REGISTRY, find
from alula.runtime.ops.elementwise import op_activation  # noqa: F401  every op with a slope is known now
from alula.runtime.planning.autodiff import Tape, rule


@rule(*(op.name for op in REGISTRY.values() if op.slope))
def activation(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY times the slope."""
    attrs = {field.name: getattr(node.attrs, field.name) for field in fields(node.attrs)}
    tensor = node.outputs[0] if find(node.op, node.label).slope == "y" else node.inputs[0]
    return (tape.node(f"{node.op}Grad", [gradients[0], tensor], **attrs),)


@rule("Clip")
def clip(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY between the bounds; bounds learn nothing.

    Where they are known, the result tells what the input would, as with a rectifier, and the input is not kept: it lay
    between the bounds if the result does. At a bound itself nothing passes (torch's relu6, and not its clamp).
    """
    bounds = [tape.value(name) if name else None for name in node.inputs[1:]]
    inputs = node.inputs
    if all(value is not None or not name for name, value in zip(node.inputs[1:], bounds, strict=True)):
        within = [
            tape.constant(np.nextafter(value.reshape(()), toward, dtype=np.float32)) if value is not None else ""
            for value, toward in zip(bounds, (np.float32(np.inf), np.float32(-np.inf)), strict=False)
        ]
        inputs = (node.outputs[0], *within)
    return tape.node("ClipGrad", [gradients[0], *inputs]), *[""] * (len(node.inputs) - 1)


@rule("PRelu")
def prelu(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dX = dY where x > 0, else slope * dY; the slope sums x * dY where x is negative."""
    (x, slope), (grad_y,) = node.inputs, gradients
    grad_x = grad_slope = ""
    below = tape.node("Less", [x, tape.constant(0.0)])
    if tape.wants(x):
        grad_x = tape.node("Where", [below, tape.node("Mul", [grad_y, slope]), grad_y])
    if tape.wants(slope):
        part = tape.node("Where", [below, tape.node("Mul", [grad_y, x]), tape.constant(0.0)])
        grad_slope = tape.reduced(part, slope)
    return grad_x, grad_slope


@rule("Erf")
def erf(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """2 / sqrt(pi) * exp(-x^2)."""
    x = node.inputs[0]
    bell = tape.node("Exp", [tape.node("Neg", [tape.node("Mul", [x, x])])])
    return (tape.node("Mul", [tape.node("Mul", [gradients[0], bell]), tape.constant(1.1283791670955126)]),)
