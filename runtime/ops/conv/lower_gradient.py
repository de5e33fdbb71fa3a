"""Gradients of convolutions: of the weights, in their storage order; of the input of a depthwise convolution."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.packing import positions
from alula.runtime.ops.conv import kernel_depthwise_gradient as depthwise_kernels
from alula.runtime.ops.conv import kernel_gradient as kernels
from alula.runtime.ops.conv import lower_depthwise as depthwise
from alula.runtime.ops.conv.kernel_point_gradient import ROWS, f32_point_input_grad
from alula.runtime.ops.conv.lower_product import emit_epilogue, panels, panels_size, planar
from alula.runtime.ops.conv.lower_winograd_gradient import lower_winograd_weight_grad
from alula.runtime.ops.conv.op import conv_window
from alula.runtime.ops.elementwise.lower import Epilogue
from alula.runtime.ops.movement.lower import emit_copy
from alula.runtime.ops.window import Window
from alula.runtime.planning.lowering import Lowering, Ref, lowers, lowers_in_storage

FEW_CHANNELS = 8  # below, all taps of a line go together
MAX_POINTS = 128  # pixels, up to which transposing the weights costs more than dot products
LONGEST_RUN = 256  # pixels of a line of a pointwise convolution, whose image may be cut at will


@lowers("ConvWeightGrad")
def lower_conv_weight_grad(lowering: Lowering, node: Node) -> bool:
    """The gradient as a tensor: made in the kernels' order, then looked up."""
    layer = _layer(lowering, node)
    if layer is None:
        return False
    window, image, c_out = layer
    group, dims = node.attrs.group, lowering.spec(node.outputs[0]).dims
    if width := depthwise_width(lowering.tiles, group, image[-1], c_out):
        order = positions(depthwise.filters_order(width), dims)
    else:
        order = positions(panels(lowering.tiles, group), dims)
    packed = lowering.scratch(4 * len(order))
    _emit(lowering, node, packed, window, image, c_out)
    place = np.zeros(math.prod(dims), np.int32)
    place[order[order >= 0]] = np.flatnonzero(order >= 0)
    lowering.emit_reorder(packed, place, lowering.ref(node.outputs[0]))
    return True


@lowers_in_storage("ConvWeightGrad")
def lower_conv_weight_grad_in_storage(lowering: Lowering, node: Node) -> bool:
    """The gradient of a variable that lies as the kernel writes it; False if it lies in another order."""
    variable, layer = lowering.variable_of(node.outputs[0]), _layer(lowering, node)
    if variable is None or layer is None:
        return False
    window, image, c_out = layer
    group = node.attrs.group
    width = depthwise_width(lowering.tiles, group, image[-1], c_out)
    if variable.packing != (depthwise.filters_order(width) if width else panels(lowering.tiles, group)):
        return False
    _emit(lowering, node, lowering.storage(node.outputs[0])[0], window, image, c_out)
    return True


def _layer(lowering: Lowering, node: Node) -> tuple[Window, tuple[int, ...], int] | None:
    """Window, image (N, H, W, C_IN) and C_OUT; None if no kernel takes it."""
    x, grad_y = (lowering.spec(name) for name in node.inputs)
    if x.dtype != "float32" or len(x.dims) not in (3, 4) or 0 in x.dims + grad_y.dims or node.fused:
        return None
    window = planar(conv_window(node.attrs, x.dims, lowering.spec(node.outputs[0]).dims))
    image = (x.dims[0], 1, *x.dims[1:]) if len(x.dims) == 3 else x.dims
    return window, image, grad_y.dims[-1]


def depthwise_width(tiles: Tiles, group: int, c_in: int, c_out: int) -> int:
    """Channels of a vector of the depthwise kernels; 0 if they do not take the convolution."""
    if not group == c_in == c_out or c_in == 1 or c_in < tiles.width // 2:
        return 0
    return tiles.width if c_in >= tiles.width else tiles.width // 2


def _emit(lowering: Lowering, node: Node, target: Ref, window: Window, image: tuple[int, ...], c_out: int) -> None:
    """The kernels that write the gradient in their own order."""
    group, c_in = node.attrs.group, image[-1]
    x = lowering.ref(node.inputs[0])
    if depthwise_width(lowering.tiles, group, c_in, c_out):
        emit_depthwise_weight_grad(lowering, x, lowering.ref(node.inputs[1]), target, window, image)
        return
    inputs, filters = c_in // group, c_out // group
    if group == 1 and lower_winograd_weight_grad(
        lowering, x, lowering.ref(node.inputs[1]), target, window, image, c_out
    ):
        return
    grad_y = readable(lowering, node.inputs[1], filters)
    size = panels_size(math.prod(window.kernel) * inputs, filters, lowering.tiles)
    for g in range(group):
        emit_conv_weight_grad(
            lowering,
            x + 4 * g * inputs,
            grad_y + 4 * g * filters,
            target + 4 * g * size,
            window,
            image,
            inputs,
            filters,
            c_out,
        )


def readable(lowering: Lowering, name: str, filters: int = 0) -> Ref:
    """The address of a gradient (..., C) of which tiles of `filters` channels (C if 0) may read a vector too far."""
    spec, grad_y = lowering.spec(name), lowering.ref(name)
    written = {word.buffer for i in lowering.instructions for word in i.words if isinstance(word, Ref)}
    if (filters or spec.dims[-1]) % lowering.tiles.step == 0 or grad_y.buffer in written:
        return grad_y
    copied = lowering.scratch(4 * spec.size + 64)  # what no instruction wrote may end where readable memory ends
    emit_copy(lowering, grad_y, copied, (spec.size,), (1,), (1,), 4)
    return copied


def emit_conv_weight_grad(
    lowering: Lowering, x: Ref, grad_y: Ref, target: Ref, window: Window, image: tuple[int, ...], c_in: int, c_out: int,
    dy_stride: int, accumulate: bool = False,
) -> None:  # fmt: skip
    """Into panels of (K_H * K_W * c_in, c_out). `image` is (N, H, W, C) of x; dy_stride: channels of grad_y in all."""
    n, h, w, x_stride = image
    h_out, w_out = window.out
    (k_h, k_w), (top, left) = window.kernel, window.pads_begin
    if window.kernel == window.strides == (1, 1) and (top, left) == (0, 0) and window.out == (h, w):
        pixels = n * h * w
        w = w_out = max(d for d in range(1, min(pixels, LONGEST_RUN) + 1) if pixels % d == 0)
        n, h, h_out = 1, pixels // w, pixels // w
    images, lines = blocks(lowering.tiles, n, h_out, 4 * (w * c_in * window.strides[0] + w_out * c_out))
    merged = k_w > 1 and c_in < FEW_CHANNELS and x_stride == c_in and window.dilations[1] == 1
    lowering.emit(
        kernels.f32_conv_weight_grad, x=x, grad_y=grad_y, target=target, n=n, h=h, w=w, c_in=c_in, x_stride=x_stride,
        h_out=h_out, w_out=w_out, c_out=c_out, dy_stride=dy_stride, k_h=k_h, k_w=k_w,
        stride_h=window.strides[0], stride_w=window.strides[1], pad_top=top, pad_left=left,
        dilation_h=window.dilations[0], dilation_w=window.dilations[1],
        merged=int(merged), block_images=images, block_lines=lines, dy_tap=0, tap_rows=k_w * c_in if merged else c_in,
        accumulate=int(accumulate),
    )  # fmt: skip


def emit_depthwise_weight_grad(
    lowering: Lowering,
    x: Ref,
    grad_y: Ref,
    target: Ref,
    window: Window,
    image: tuple[int, ...],
    accumulate: bool = False,
) -> None:
    """Into filters as the depthwise kernel reads them."""
    n, h, w, c = image
    (k_h, k_w), (down, right), (h_out, w_out) = window.kernel, window.strides, window.out
    images, lines = blocks(lowering.tiles, n, h_out, 4 * c * (w * down + w_out))
    together = (k_w, right) in depthwise_kernels.LINES and window.dilations[1] == 1
    lowering.emit(
        depthwise_kernels.f32_depthwise_weight_grad, x=x, grad_y=grad_y, target=target, n=n, h=h, w=w, c=c, h_out=h_out, w_out=w_out,
        k_h=k_h, k_w=k_w, stride_h=down, stride_w=right, pad_top=window.pads_begin[0], pad_left=window.pads_begin[1],
        dilation_h=window.dilations[0], dilation_w=window.dilations[1], together=int(together),
        block_images=images, block_lines=lines, accumulate=int(accumulate),
    )  # fmt: skip


def blocks(tiles: Tiles, n: int, h_out: int, line_bytes: int) -> tuple[int, int]:
    """How many images and lines of outputs pass at a time, so that they stay in the cache for all tiles."""
    lines = max(1, tiles.l2_bytes // line_bytes)
    return (min(n, lines // h_out), h_out) if lines >= h_out else (1, lines)


def lower_point_input_grad(
    lowering: Lowering, node: Node, window: Window, image: tuple[int, ...], weights: Ref, tail: Epilogue
) -> bool:
    """A transposed pointwise convolution over few pixels; `image` is of what it reads, weights: panels of (C, K)."""
    plain = window.kernel == window.strides == (1, 1) and not any(window.pads_begin) and window.out == image[1:3]
    if not plain or len(node.inputs) > 2 and node.inputs[2]:
        return False
    return emit_point_input_grad(lowering, node, math.prod(image[:-1]), weights, tail)


def emit_point_input_grad(lowering: Lowering, node: Node, pixels: int, weights: Ref, tail: Epilogue) -> bool:
    """The node's first input (pixels, K) times the transpose of panels (C, K), if they are few pixels."""
    k, c = (lowering.spec(name).dims[-1] for name in (node.inputs[0], node.outputs[0]))
    if (tail.low, tail.high) != (-math.inf, math.inf):
        return False
    if pixels > MAX_POINTS or c % ROWS or k % lowering.tiles.step:
        return False
    lowering.emit(
        f32_point_input_grad, grad_y=lowering.ref(node.inputs[0]), weights=weights, grad_x=lowering.ref(node.outputs[0]),
        pixels=pixels, c_in=c, c_out=k,
    )  # fmt: skip
    if tail.stages:
        emit_epilogue(lowering, node.outputs[0], pixels, c, tail)
    return True


def lower_depthwise_input_grad(
    lowering: Lowering, node: Node, window: Window, image: tuple[int, ...], tail: Epilogue
) -> bool:
    """A transposed depthwise convolution; `image` is (N, H, W, C) of what it reads, window.out what it writes."""
    n, h_in, w_in, c = image
    width = depthwise_width(lowering.tiles, c, c, c)
    (k_h, k_w), (down, right), pads = window.kernel, window.strides, window.pads_begin
    if not width:
        return False
    if window.strides == window.dilations == (1, 1) and pads[0] < k_h and pads[1] < k_w:
        transposed = Window((k_h, k_w), (1, 1), (1, 1), (k_h - 1 - pads[0], k_w - 1 - pads[1]), (0, 0), window.out)
        return depthwise.lower_depthwise(lowering, node, transposed, image, tail, transposed=True)
    biased = len(node.inputs) > 2 and node.inputs[2]
    mixed = any(s > 1 and d > 1 for s, d in zip(window.strides, window.dilations, strict=True))
    if biased or mixed or (tail.low, tail.high) != (-math.inf, math.inf):
        return False
    lowering.emit(
        depthwise_kernels.f32_depthwise_input_grad, grad_y=lowering.ref(node.inputs[0]),
        weight=lowering.packed(node.inputs[1], depthwise.filters_order(width)),
        grad_x=lowering.ref(node.outputs[0]), zeros=lowering.zeros(4 * width), n=n, h=window.out[0], w=window.out[1], c=c,
        h_out=h_in, w_out=w_in, k_h=k_h, k_w=k_w, stride_h=down, stride_w=right, pad_top=pads[0], pad_left=pads[1],
        dilation_h=window.dilations[0], dilation_w=window.dilations[1],
    )  # fmt: skip
    if tail.stages:
        emit_epilogue(lowering, node.outputs[0], n * math.prod(window.out), c, tail)
    return True
