"""Gradients of reductions: each summand gets the gradient of the sum."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


def _kept(tape: Tape, node: Node, name: str) -> tuple[str, int]:
    """A tensor of the result's shape with the reduced axes as 1, and how many elements each sums."""
    dims = tape.spec(node.inputs[0]).dims
    given = tape.value(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
    axes = range(len(dims)) if given is None or given.size == 0 else [int(a) % len(dims) for a in given.reshape(-1)]
    if (given is None or given.size == 0) and node.attrs.noop_with_empty_axes:
        axes = []
    shape = [1 if i in set(axes) else dim for i, dim in enumerate(dims)]
    return tape.reshaped(name, shape), math.prod(dims[i] for i in axes)


def _spread(tape: Tape, node: Node, gradient: str) -> Sequence[str]:
    dims = tape.spec(node.inputs[0]).dims
    if tape.spec(gradient).dims != dims:
        gradient = tape.node("Expand", [gradient, tape.constant(list(dims), "int64")])
    return gradient, *[""] * (len(node.inputs) - 1)


@rule("ReduceSum", "ReduceMean")
def total(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY to all, divided by their number for the mean."""
    grad_y, count = _kept(tape, node, gradients[0])
    if node.op == "ReduceMean":
        grad_y = tape.node("Mul", [grad_y, tape.constant(1 / count)])
    return _spread(tape, node, grad_y)


@rule("ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")
def weighted(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY times the slope in each element."""
    x, (grad_y, _), (y, _) = node.inputs[0], _kept(tape, node, gradients[0]), _kept(tape, node, node.outputs[0])
    if node.op == "ReduceSumSquare":
        slope = tape.node("Mul", [x, tape.constant(2.0)])
    elif node.op == "ReduceL1":
        slope = tape.node("Sign", [x])
    elif node.op == "ReduceL2":
        slope = tape.node("Div", [x, y])
    elif node.op == "ReduceLogSum":
        slope = tape.node("Exp", [tape.node("Neg", [y])])
    elif node.op == "ReduceLogSumExp":
        slope = tape.node("Exp", [tape.node("Sub", [x, y])])
    else:
        slope = tape.node("Div", [y, x])
    return _spread(tape, node, tape.node("Mul", [slope, grad_y]))


@rule("ReduceMax", "ReduceMin")
def extreme(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY to the extremes, in equal shares (torch.amax's convention)."""
    x, (grad_y, _), (y, _) = node.inputs[0], _kept(tape, node, gradients[0]), _kept(tape, node, node.outputs[0])
    hit = tape.node("Cast", [tape.node("Equal", [x, y])], to="float32")
    axes = [i for i, (a, b) in enumerate(zip(tape.spec(x).dims, tape.spec(y).dims, strict=True)) if a != b]
    share = (
        tape.node("Div", [grad_y, tape.node("ReduceSum", [hit, tape.constant(axes, "int64")], keepdims=1)])
        if axes
        else grad_y
    )
    return _spread(tape, node, tape.node("Mul", [hit, share]))
