"""Depthwise convolutions."""

from __future__ import annotations

from alula.runtime.graph import Array, Node
from alula.runtime.kernels import depthwise as kernels
from alula.runtime.lower.steps import Epilogue
from alula.runtime.lowering import Lowering
from alula.runtime.ops.window import Window


def lower_depthwise(lowering: Lowering, node: Node, window: Window, picture: tuple[int, ...], tail: Epilogue) -> bool:
    """Emit the kernel if there are channels enough for it."""
    from alula.runtime.lower.conv import bias_ref

    n, h, w, c = picture
    if c < lowering.tiles.width // 2 or c == 1:
        return False

    def pack(filters: Array) -> Array:
        taps: Array = filters.reshape(c, -1).T  # (K_H * K_W, C)
        return taps

    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    lowering.emit(
        kernels.f32_depthwise, x=lowering.ref(node.inputs[0]), weight=lowering.packed(node.inputs[1], "depthwise", pack),
        bias=bias_ref(lowering, bias, c), y=lowering.ref(node.outputs[0]), zeros=lowering.zeros(4 * lowering.tiles.width),
        scratch=lowering.scratch(64 * lowering.n_threads),
        n=n, h=h, w=w, c=c, h_out=window.out[0], w_out=window.out[1], k_h=window.kernel[0], k_w=window.kernel[1],
        stride_h=window.strides[0], stride_w=window.strides[1], pad_top=window.pads_begin[0], pad_left=window.pads_begin[1],
        dilation_h=window.dilations[0], dilation_w=window.dilations[1], low=tail.low, high=tail.high,
        epilogue=tail.kernel, chain=tail.chain,
    )  # fmt: skip
    return True
