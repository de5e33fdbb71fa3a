"""Gradients of convolutions: each is the other's adjoint."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.ops.conv.op import conv_transpose_window, conv_window
from alula.runtime.ops.movement.gradient import cut
from alula.runtime.ops.window import Window
from alula.runtime.planning.autodiff import Tape, rule


def bias_gradient(tape: Tape, node: Node, grad_y: str) -> str:
    """The sum over all but the channels, if a bias wants it."""
    if len(node.inputs) < 3 or not node.inputs[2] or not tape.wants(node.inputs[2]):
        return ""
    axes = list(range(len(tape.spec(grad_y).dims) - 1))
    return str(tape.node("ReduceSum", [grad_y, tape.constant(axes, "int64")], keepdims=0))


@rule("Conv")
def conv(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dX is a transposed convolution of dY; dW sums input times gradient over all pixels."""
    (x, weight), (grad_y,) = node.inputs[:2], gradients
    shape, kernel = tape.spec(x).dims, tape.spec(weight).dims
    window = conv_window(node.attrs, shape, kernel)
    pads = (*window.pads_begin, *window.pads_end)
    fixed = {"dilations": window.dilations, "group": node.attrs.group, "pads": pads, "strides": window.strides}
    grad_x = grad_weight = ""
    if tape.wants(weight):
        grad_weight = tape.node(
            "ConvWeightGrad", [x, grad_y], name=f"{weight}|grad", kernel_shape=kernel[1:-1], **fixed
        )
    if tape.wants(x):
        reached = [
            (out - 1) * stride + extent - begin - end
            for out, stride, extent, begin, end in zip(
                window.out, window.strides, window.extent, window.pads_begin, window.pads_end, strict=True
            )
        ]
        rest = tuple(size - r for size, r in zip(shape[1:-1], reached, strict=True))
        grad_x = tape.node("ConvTranspose", [grad_y, weight], name=f"{x}|grad", output_padding=rest, **fixed)
    return (grad_x, grad_weight, bias_gradient(tape, node, grad_y))[: len(node.inputs)]


@rule("ConvTranspose")
def conv_transpose(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dX is the convolution of dY; dW is that convolution's weight gradient, with dY as its input."""
    (x, weight), (grad_y,) = node.inputs[:2], gradients
    kernel = tape.spec(weight).dims
    window = conv_transpose_window(node.attrs, tape.spec(x).dims, kernel)
    bias = bias_gradient(tape, node, grad_y)
    ends = _end_pads(window, tape.spec(x).dims[1:-1])
    for axis, (end, out) in enumerate(zip(ends, window.out, strict=True), 1):
        if end < 0:  # no window reaches the last pixels: they are the bias alone
            grad_y = cut(tape, grad_y, axis, 0, out + end)
    fixed = {
        "dilations": window.dilations, "group": node.attrs.group, "strides": window.strides,
        "pads": (*window.pads_begin, *(max(end, 0) for end in ends)),
    }  # fmt: skip
    grad_x = tape.node("Conv", [grad_y, weight], name=f"{x}|grad", **fixed) if tape.wants(x) else ""
    grad_weight = ""
    if tape.wants(weight):
        grad_weight = tape.node(
            "ConvWeightGrad", [grad_y, x], name=f"{weight}|grad", kernel_shape=kernel[1:-1], **fixed
        )
    return (grad_x, grad_weight, bias)[: len(node.inputs)]


def _end_pads(window: Window, spatial: tuple[int, ...]) -> tuple[int, ...]:
    """Padding at the ends with which a convolution of the result has the input's size; negative: so much is cut off."""
    return tuple(
        (size - 1) * stride + extent - begin - out
        for size, stride, extent, begin, out in zip(
            spatial, window.strides, window.extent, window.pads_begin, window.out, strict=True
        )
    )
