"""Gradients of normalisations, built from sums over the elements that are normalised together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


def _mean(tape: Tape, name: str, axes: Sequence[int]) -> str:
    return str(tape.node("ReduceMean", [name, tape.constant(list(axes), "int64")], keepdims=1))


def _sum_to(tape: Tape, name: str, dims: Sequence[int]) -> str:
    """Summed over the leading axes, down to the trailing `dims`."""
    lead = len(tape.spec(name).dims) - len(dims)
    if not lead:
        return name
    return str(tape.node("ReduceSum", [name, tape.constant(list(range(lead)), "int64")], keepdims=0))


def _inverse_deviation(tape: Tape, centred: str, axes: Sequence[int], epsilon: float) -> str:
    variance = _mean(tape, tape.node("Mul", [centred, centred]), axes)
    shifted = tape.node("Add", [variance, tape.constant(epsilon)])
    return str(tape.node("Reciprocal", [tape.node("Sqrt", [shifted])]))


def _normalised(tape: Tape, x: str, axes: Sequence[int], epsilon: float, centre: bool) -> tuple[str, str]:
    """x normalised over axes, and 1 / deviation."""
    centred = tape.node("Sub", [x, _mean(tape, x, axes)]) if centre else x
    inverse = _inverse_deviation(tape, centred, axes, epsilon)
    return tape.node("Mul", [centred, inverse]), inverse


def _back(tape: Tape, dnormal: str, normal: str, inverse: str, axes: Sequence[int], centre: bool) -> str:
    """dX = inverse * (dN - mean(dN) - N mean(dN N)); without the first mean where nothing was centred."""
    projection = tape.node("Mul", [normal, _mean(tape, tape.node("Mul", [dnormal, normal]), axes)])
    rest = tape.node("Sub", [dnormal, projection])
    if centre:
        rest = tape.node("Sub", [rest, _mean(tape, dnormal, axes)])
    return str(tape.node("Mul", [rest, inverse]))


@rule("LayerNormalization", "RMSNormalization")
def layer_norm(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Over the axes from `axis` to the last (Ba et al., 2016; Zhang and Sennrich, 2019)."""
    (x, scale), grad_y = node.inputs[:2], gradients[0]
    rank, centre = len(tape.spec(x).dims), node.op == "LayerNormalization"
    axes = range(node.attrs.axis % rank, rank)
    normal, inverse = _normalised(tape, x, axes, node.attrs.epsilon, centre)
    grad_x = grad_scale = grad_bias = ""
    if tape.wants(scale):
        grad_scale = tape.reduced(tape.node("Mul", [grad_y, normal]), scale)
    if len(node.inputs) > 2 and tape.wants(node.inputs[2]):
        grad_bias = tape.reduced(grad_y, node.inputs[2])
    if tape.wants(x):
        grad_x = _back(tape, tape.node("Mul", [grad_y, scale]), normal, inverse, axes, centre)
    return (grad_x, grad_scale, grad_bias)[: len(node.inputs)]


@rule("InstanceNormalization", "GroupNormalization")
def image_norm(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Over the pixels of an image, channel by channel or in groups of channels (Wu and He, 2018)."""
    (x, scale, bias), (grad_y,) = node.inputs, gradients
    dims = tape.spec(x).dims
    groups = node.attrs.num_groups if node.op == "GroupNormalization" else dims[-1]
    split = (dims[0], math.prod(dims[1:-1]), groups, dims[-1] // groups)
    axes = (1, 3)
    normal, inverse = _normalised(tape, tape.reshaped(x, split), axes, node.attrs.epsilon, True)
    grad_x = grad_scale = grad_bias = ""
    if tape.wants(scale):
        grad_scale = _sum_to(tape, tape.node("Mul", [grad_y, tape.reshaped(normal, dims)]), dims[-1:])
    if tape.wants(bias):
        grad_bias = _sum_to(tape, grad_y, dims[-1:])
    if tape.wants(x):
        scaled = tape.reshaped(tape.node("Mul", [grad_y, scale]), split)
        grad_x = tape.reshaped(_back(tape, scaled, normal, inverse, axes, True), dims)
    return grad_x, grad_scale, grad_bias


@rule("BatchNormalization")
def batch_norm(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """With known statistics: a factor and a summand for each channel."""
    (x, scale, bias, mean, variance), grad_y = node.inputs, gradients[0]
    inverse = tape.node(
        "Reciprocal", [tape.node("Sqrt", [tape.node("Add", [variance, tape.constant(node.attrs.epsilon)])])]
    )
    dims = tape.spec(x).dims
    grad_x = grad_scale = grad_bias = ""
    if tape.wants(x):
        grad_x = tape.node("Mul", [grad_y, tape.node("Mul", [scale, inverse])])
    if tape.wants(scale):
        centred = tape.node("Mul", [tape.node("Sub", [x, mean]), inverse])
        grad_scale = _sum_to(tape, tape.node("Mul", [grad_y, centred]), dims[-1:])
    if tape.wants(bias):
        grad_bias = _sum_to(tape, grad_y, dims[-1:])
    return grad_x, grad_scale, grad_bias, "", ""


@rule("LpNormalization")
def lp_norm(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """x over its norm: dX = (dY - Y' sum(dY Y)) / norm, with Y' the norm's slope."""
    (x,), (grad_y,), y = node.inputs, gradients, node.outputs[0]
    axes = tape.constant([node.attrs.axis % len(tape.spec(x).dims)], "int64")
    norm = tape.node("ReduceL1" if node.attrs.p == 1 else "ReduceL2", [x, axes], keepdims=1)
    slope = tape.node("Sign", [x]) if node.attrs.p == 1 else y
    along = tape.node("ReduceSum", [tape.node("Mul", [grad_y, y]), axes], keepdims=1)
    return (tape.node("Div", [tape.node("Sub", [grad_y, tape.node("Mul", [slope, along])]), norm]),)
