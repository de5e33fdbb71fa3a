"""Gradients of pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


@rule("MaxPool")
def max_pool(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY to the first maximum of each window."""
    attrs = {field.name: getattr(node.attrs, field.name) for field in fields(node.attrs)}
    return (tape.node("MaxPoolGrad", [gradients[0], node.inputs[0]], **attrs),)


@rule("AveragePool")
def average_pool(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY in equal shares to each window."""
    attrs = {field.name: getattr(node.attrs, field.name) for field in fields(node.attrs)}
    return (tape.node("AveragePoolGrad", [gradients[0]], input_shape=tape.spec(node.inputs[0]).dims, **attrs),)


@rule("GlobalAveragePool")
def global_average_pool(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Every pixel gets the same share."""
    dims = tape.spec(node.inputs[0]).dims
    share = tape.node("Mul", [gradients[0], tape.constant(1 / math.prod(dims[1:-1]))])
    return (tape.node("Expand", [share, tape.constant(list(dims), "int64")]),)


@rule("GlobalMaxPool")
def global_max_pool(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """The largest pixels share dY."""
    x, y = node.inputs[0], node.outputs[0]
    hit = tape.node("Cast", [tape.node("Equal", [x, y])], to="float32")
    axes = list(range(1, len(tape.spec(x).dims) - 1))
    count = tape.node("ReduceSum", [hit, tape.constant(axes, "int64")], keepdims=1)
    return (tape.node("Mul", [hit, tape.node("Div", [gradients[0], count])]),)
