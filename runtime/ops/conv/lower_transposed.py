"""ConvTranspose: one convolution per phase of the stride. Also the input gradient of a convolution."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.graph import Array, Node
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.conv.lower_gradient import lower_depthwise_input_grad, lower_point_input_grad
from alula.runtime.ops.conv.lower_product import (
    bias_ref,
    constant_layer,
    emit_conv,
    emit_epilogue,
    emit_transposed_panels,
    pack_bias,
    pack_panels,
    panels,
    panels_size,
)
from alula.runtime.ops.conv.lower_winograd import lower_winograd, transform_transposed_filters
from alula.runtime.ops.conv.op import conv_transpose_window
from alula.runtime.ops.elementwise.lower import Epilogue
from alula.runtime.ops.movement.lower import dense_strides, emit_copy
from alula.runtime.ops.window import Window
from alula.runtime.planning.lowering import Lowering, Ref, lowers


@lowers("ConvTranspose")
def lower_conv_transpose(lowering: Lowering, node: Node) -> bool:
    """2-D transposed convolution with constant weights: one convolution for each phase of the stride."""
    layer = constant_layer(lowering, node, conv_transpose_window)
    if layer is None:
        return False
    if node.attrs.group == layer.image[-1] == layer.out[-1]:
        return lower_depthwise_input_grad(lowering, node, layer.window, layer.image, layer.tail)
    if node.attrs.group != 1 or layer.window.dilations != (1, 1):
        return False
    x, weight = node.inputs[:2]
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    window, image, out, tail = layer.window, layer.image, layer.out, layer.tail
    c_in, c_out = image[-1], out[-1]
    (k_h, k_w), (s_h, s_w) = window.kernel, window.strides
    blocks = tuple(size * stride for size, stride in zip(image[1:3], window.strides, strict=True))
    if (
        window.kernel == window.strides
        and window.out == blocks
        and not any(window.pads_begin)
        and c_out < lowering.tiles.width
    ):
        _emit_blocks(lowering, node, window, image, tail)
        return True
    storage = lowering.variables[weight].packing if weight in lowering.variables else None
    as_it_lies = lowering.lying(weight, panels(lowering.tiles))
    if as_it_lies and lower_point_input_grad(lowering, node, window, image, as_it_lies, tail):
        return True
    if storage == panels(lowering.tiles) and (k_h, k_w, s_h, s_w) == (3, 3, 1, 1) and max(window.pads_begin) < 3:
        pads = (2 - window.pads_begin[0], 2 - window.pads_begin[1])
        flipped = Window((3, 3), (1, 1), (1, 1), pads, (0, 0), window.out)

        def transposed(m: int, first: int, count: int) -> Ref:
            source = lowering.storage(weight)[0]
            return transform_transposed_filters(lowering, source, c_out, c_in, m, first, count)

        if lower_winograd(lowering, node, flipped, image, tail, transposed):
            return True
    taps = [[len(range(first, max(k, s), s)) for first in range(s)] for k, s in ((k_h, s_h), (k_w, s_w))]
    sizes = [panels_size(t_y * t_x * c_in, c_out, lowering.tiles) for t_y in taps[0] for t_x in taps[1]]
    phases: Ref | None = None
    whole = (s_h, s_w) == (1, 1)  # one phase, whose kernel runs the epilogue
    for phase_y in range(min(s_h, window.out[0])):
        for phase_x in range(min(s_w, window.out[1])):
            # out[o] sums weight[k] * x[(o + pad - k) / s] over the taps k that divide: k = first + s * j, x = base - j
            first_y, base_y = (phase_y + window.pads_begin[0]) % s_h, (phase_y + window.pads_begin[0]) // s_h
            first_x, base_x = (phase_x + window.pads_begin[1]) % s_w, (phase_x + window.pads_begin[1]) // s_w
            taps_y, taps_x = taps[0][first_y], taps[1][first_x]
            size = (-(-(window.out[0] - phase_y) // s_h), -(-(window.out[1] - phase_x) // s_w))
            y = lowering.ref(node.outputs[0]) + 4 * (phase_y * window.out[1] + phase_x) * c_out
            strides = (window.out[0] * window.out[1] * c_out, s_h * window.out[1] * c_out, s_w * c_out)
            bounded = tail.low > 0 or tail.high < 0
            if (first_y >= window.kernel[0] or first_x >= window.kernel[1]) and not bias and not bounded:
                zeros = lowering.zeros(4 * c_out)
                emit_copy(lowering, zeros, y, (image[0], *size, c_out), (0, 0, 0, 1), (*strides, 1), 4)
                continue

            part = Window(
                (taps_y, taps_x), (1, 1), (1, 1), (taps_y - 1 - base_y, taps_x - 1 - base_x), (0, 0), size
            )  # fmt: skip
            name = f"phase{first_y}/{s_h},{first_x}/{s_w}"
            own = _transposed_panels(lowering, node, name, (first_y, first_x), (taps_y, taps_x), window)
            if own is None:
                order = Packing("phases", lambda w: _phase_panels(w, window, lowering.tiles), (s_h, s_w))
                phases = phases or lowering.packed(weight, order)
                own = phases + 4 * sum(sizes[: first_y * s_w + first_x])
            emit_conv(
                lowering, lowering.ref(x), own, bias_ref(lowering, bias, c_out), y, part, image, c_in, c_out, strides,
                tail if whole else Epilogue(tail.low, tail.high, 0, []),
            )  # fmt: skip
    if tail.stages and not whole:
        emit_epilogue(lowering, node.outputs[0], math.prod(out[:-1]), c_out, tail)
    return True


def _phase_panels(weight: Array, window: Window, tiles: Tiles) -> Array:
    """(C_IN, K_H, K_W, C_OUT) as the panels (T_Y * T_X * C_IN, C_OUT) of each phase's taps, one phase after the other."""
    (s_h, s_w), (c_in, *_, c_out) = window.strides, weight.shape
    grown = [(0, max(s - k, 0)) for k, s in zip(window.kernel, window.strides, strict=True)]  # each phase has a tap
    full = np.pad(weight.reshape(c_in, *window.kernel, c_out), ((0, 0), *grown, (0, 0)))
    phases = [full[:, y::s_h, x::s_w][:, ::-1, ::-1].transpose(1, 2, 0, 3) for y in range(s_h) for x in range(s_w)]
    return np.concatenate([pack_panels(taps.reshape(-1, c_out), tiles) for taps in phases])


def _transposed_panels(
    lowering: Lowering, node: Node, name: str, first: tuple[int, int], taps: tuple[int, int], window: Window
) -> Ref | None:
    """Panels of some taps, made in every run of a variable that lies in the panels of the convolution that it is for."""
    c_out, *_, c_in = lowering.spec(node.inputs[1]).dims  # of that convolution

    def transpose(source: Ref) -> Ref:
        return emit_transposed_panels(lowering, source, c_in, c_out, window.kernel, window.strides, first, taps)

    return lowering.derived(node.inputs[1], name, panels(lowering.tiles), transpose)


def _emit_blocks(lowering: Lowering, node: Node, window: Window, image: tuple[int, ...], tail: Epilogue) -> None:
    """A transposed convolution whose blocks do not overlap, with few filters: all phases in one product, then scattered."""
    (k_h, k_w), (n, h, w, c_in) = window.kernel, image
    c_out = lowering.spec(node.outputs[0]).dims[-1]
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    columns = k_h * k_w * c_out
    products = lowering.scratch(4 * n * h * w * columns)
    order = Packing("blocks", lambda f: pack_panels(f.reshape(c_in, columns), lowering.tiles))
    weight = lowering.packed(node.inputs[1], order)
    biases = bias_ref(lowering, "", columns)
    if bias:
        repeated = Packing(
            "blocks", lambda b: pack_bias(np.tile(b.reshape(-1), k_h * k_w), lowering.tiles), (k_h * k_w,)
        )
        biases = lowering.packed(bias, repeated)
    point = Window((1, 1), (1, 1), (1, 1), (0, 0), (0, 0), (h, w))
    emit_conv(lowering, lowering.ref(node.inputs[0]), weight, biases, products, point, image, c_in, columns,
              (h * w * columns, w * columns, columns), Epilogue(tail.low, tail.high, 0, []))  # fmt: skip
    blocks, perm = (n, h, w, k_h, k_w, c_out), (0, 1, 3, 2, 4, 5)
    strides, transposed = dense_strides(blocks), [blocks[p] for p in perm]
    y = lowering.ref(node.outputs[0])
    emit_copy(lowering, products, y, transposed, [strides[p] for p in perm], dense_strides(transposed), 4)
    if tail.stages:
        emit_epilogue(lowering, node.outputs[0], n * h * w * k_h * k_w, c_out, tail)
