"""Conv: choose one of the convolution kernels."""

from __future__ import annotations

import math

from alula.runtime.graph import Node
from alula.runtime.ops.conv.lower_depthwise import lower_depthwise
from alula.runtime.ops.conv.lower_product import (
    bias_ref,
    bias_size,
    constant_layer,
    emit_conv,
    emit_epilogue,
    panels,
    panels_size,
)
from alula.runtime.ops.conv.lower_winograd import lower_winograd, transform_filters
from alula.runtime.ops.conv.op import conv_window
from alula.runtime.ops.elementwise.lower import Epilogue
from alula.runtime.planning.lowering import Lowering, Ref, lowers


@lowers("Conv")
def lower_conv(lowering: Lowering, node: Node) -> bool:
    """1-D and 2-D convolution with constant weights."""
    layer = constant_layer(lowering, node, conv_window)
    if layer is None:
        return False
    x, weight = node.inputs[:2]
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    window, image, out, tail = layer.window, layer.image, layer.out, layer.tail
    c_out, group = out[-1], node.attrs.group
    if group == image[-1] == c_out and lower_depthwise(lowering, node, window, image, tail):
        return True
    k = math.prod(lowering.spec(weight).dims[1:])

    def transformed(m: int, first: int, count: int) -> Ref:
        source = _storage_panels(lowering, weight)
        return transform_filters(lowering, source, image[-1], c_out, m, first, count)

    changing = None if lowering.known(weight) else transformed
    if group == 1 and lower_winograd(lowering, node, window, image, tail, changing):
        return True
    c_in, filters = image[-1] // group, c_out // group
    packed = lowering.packed(weight, panels(lowering.tiles, group))
    biases = bias_ref(lowering, bias, filters, group)
    for g in range(group):
        emit_conv(
            lowering, lowering.ref(x) + 4 * g * c_in, packed + 4 * g * panels_size(k, filters, lowering.tiles),
            biases + (4 * g * bias_size(filters, lowering.tiles) if bias else 0),
            lowering.ref(node.outputs[0]) + 4 * g * filters, window, image, c_in, filters,
            (window.out[0] * window.out[1] * c_out, window.out[1] * c_out, c_out),
            tail if group == 1 else Epilogue(tail.low, tail.high, 0, []),
        )  # fmt: skip
    if group > 1 and tail.stages:
        emit_epilogue(lowering, node.outputs[0], math.prod(out[:-1]), c_out, tail)
    return True


def _storage_panels(lowering: Lowering, weight: str) -> Ref:
    """The panels of a variable: its own order, if nothing else has chosen that."""
    return lowering.packed(weight, panels(lowering.tiles))
