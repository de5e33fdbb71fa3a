"""Gradients of convolutions: each is the other's adjoint."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.ops.conv.op import conv_transpose_window, conv_window
from alula.runtime.ops.movement.gradient import cut
from alula.runtime.ops.window import Window
from alula.runtime.planning.autodiff import Tape, rule


def bias_gradient(tape: Tape, node: Node, dy: str) -> str:
    """The sum over all but the channels, if a bias wants it."""
    if len(node.inputs) < 3 or not node.inputs[2] or not tape.wants(node.inputs[2]):
        return ""
    axes = list(range(len(tape.spec(dy).dims) - 1))
    return str(tape.node("ReduceSum", [dy, tape.constant(axes, "int64")], keepdims=0))


@rule("Conv")
def conv(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dX is a transposed convolution of dY; dW sums input times gradient over all pixels."""
    (x, weight), (dy,) = node.inputs[:2], gradients
    shape, kernel = tape.spec(x).dims, tape.spec(weight).dims
    window = conv_window(node.attrs, shape, kernel)
    pads = (*window.pads_begin, *window.pads_end)
    fixed = {"dilations": window.dilations, "group": node.attrs.group, "pads": pads, "strides": window.strides}
    dx = dw = ""
    if tape.wants(weight):
        dw = tape.node("ConvWeightGrad", [x, dy], name=f"{weight}|grad", kernel_shape=kernel[1:-1], **fixed)
    if tape.wants(x):
        reached = [
            (out - 1) * stride + extent - begin - end
            for out, stride, extent, begin, end in zip(
                window.out, window.strides, window.extent, window.pads_begin, window.pads_end, strict=True
            )
        ]
        rest = tuple(size - r for size, r in zip(shape[1:-1], reached, strict=True))
        dx = tape.node("ConvTranspose", [dy, weight], name=f"{x}|grad", output_padding=rest, **fixed)
    return (dx, dw, bias_gradient(tape, node, dy))[: len(node.inputs)]


@rule("ConvTranspose")
def conv_transpose(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dX is the convolution of dY; dW is that convolution's weight gradient, with dY as its input."""
    (x, weight), (dy,) = node.inputs[:2], gradients
    kernel = tape.spec(weight).dims
    window = conv_transpose_window(node.attrs, tape.spec(x).dims, kernel)
    bias = bias_gradient(tape, node, dy)
    ends = _end_pads(window, tape.spec(x).dims[1:-1])
    for axis, (end, out) in enumerate(zip(ends, window.out, strict=True), 1):
        if end < 0:  # no window reaches the last pixels: they are the bias alone
            dy = cut(tape, dy, axis, 0, out + end)
    fixed = {
        "dilations": window.dilations, "group": node.attrs.group, "strides": window.strides,
        "pads": (*window.pads_begin, *(max(end, 0) for end in ends)),
    }  # fmt: skip
    dx = tape.node("Conv", [dy, weight], name=f"{x}|grad", **fixed) if tape.wants(x) else ""
    dw = ""
    if tape.wants(weight):
        dw = tape.node("ConvWeightGrad", [dy, x], name=f"{weight}|grad", kernel_shape=kernel[1:-1], **fixed)
    return (dx, dw, bias)[: len(node.inputs)]


def _end_pads(window: Window, spatial: tuple[int, ...]) -> tuple[int, ...]:
    """Padding at the ends with which a convolution of the result has the input's size; negative: so much is cut off."""
    return tuple(
        (size - 1) * stride + extent - begin - out
        for size, stride, extent, begin, out in zip(
            spatial, window.strides, window.extent, window.pads_begin, window.out, strict=True
        )
    )
