"""Depthwise convolutions."""

from __future__ import annotations

import numpy as np

from alula.runtime.graph import Array, Node
from alula.runtime.kernels.memory import LINE
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.conv import kernel_depthwise as kernels
from alula.runtime.ops.conv.kernel_depthwise_gradient import f32_transpose_taps as transpose_taps
from alula.runtime.ops.conv.lower_product import bias_ref
from alula.runtime.ops.elementwise.lower import Epilogue
from alula.runtime.ops.window import Window
from alula.runtime.planning.lowering import FnRef, Lowering, Ref


def pack_filters(filters: Array, width: int) -> Array:
    """(C, K_H, K_W, 1) as (ceil(C / width), K_H * K_W, width); the last vector of channels ends at C."""
    c = filters.shape[0]
    channels = np.minimum(np.arange(0, c, width), c - width)[:, None] + np.arange(width)
    packed: Array = filters.reshape(c, -1)[channels].transpose(0, 2, 1)
    return packed


def filters_order(width: int, transposed: bool = False) -> Packing:
    """The packing of `pack_filters`. transposed: with the taps reversed."""
    return Packing(
        "depthwise transposed" if transposed else "depthwise",
        lambda filters: pack_filters(filters[:, ::-1, ::-1] if transposed else filters, width),
        (width,),
    )


def sweeps(window: Window, w: int) -> int:
    """Into how many sweeps to cut a row of outputs; 0 if the window is none that is swept."""
    (k_h, k), (down, right), pad, w_out = window.kernel, window.strides, window.pads_begin[1], window.out[1]
    if k_h != k or (k, down, right) not in kernels.SWEEPS or window.dilations != (1, 1):
        return 0
    inside = min(max((w + pad - k) // right + 1, 0), w_out)  # windows that do not hang over the right border
    if pad > k - right or w + pad < k - right or w_out - inside >= -(-k // right):
        return 0
    return max(1, w_out * right // kernels.COLUMNS)


def lower_depthwise(
    lowering: Lowering, node: Node, window: Window, image: tuple[int, ...], tail: Epilogue, transposed: bool = False
) -> bool:
    """Emit the kernel if there are enough channels. transposed: with the filters' taps reversed."""
    n, h, w, c = image
    if c < lowering.tiles.width // 2 or c == 1:
        return False
    width = lowering.tiles.width if c >= lowering.tiles.width else lowering.tiles.width // 2
    blocks = sweeps(window, w) if c >= min(lowering.tiles.width, 8) else 0
    (k_h, k_w), (down, right) = window.kernel, window.strides
    sweep = FnRef(kernels.SWEEPS[k_w, down, right].name) if blocks else 0
    lines = n * window.out[0]
    # Threads that share channels do not share lines of the cache
    shared = lowering.n_threads > 1 and c % max(LINE, width) == 0 and lines < 16 * lowering.n_threads
    groups = min(lowering.n_threads, c // max(LINE, width)) if shared else 1
    columns = -(-window.out[1] // max(blocks, 1)) * right + k_w
    bias = node.inputs[2] if len(node.inputs) > 2 else ""

    def transpose(source: Ref) -> Ref:
        vectors, taps = -(-c // width), k_h * k_w
        target = lowering.scratch(4 * vectors * taps * width)
        lowering.emit(transpose_taps, source=source, target=target, vectors=vectors, taps=taps, width=width)
        return target

    filters, packing = node.inputs[1], filters_order(width, transposed)
    derived = lowering.derived(filters, str(packing), filters_order(width), transpose) if transposed else None
    lowering.emit(
        kernels.f32_depthwise, x=lowering.ref(node.inputs[0]),
        weight=derived or lowering.packed(filters, packing),
        bias=bias_ref(lowering, bias, c), y=lowering.ref(node.outputs[0]),
        zeros=lowering.zeros(4 * columns * c if blocks else 0),
        scratch=lowering.scratch(8 * kernels.SCRATCH_WORDS * lowering.n_threads),
        n=n, h=h, w=w, c=c, h_out=window.out[0], w_out=window.out[1], k_h=k_h, k_w=k_w,
        stride_h=down, stride_w=right, pad_top=window.pads_begin[0], pad_left=window.pads_begin[1],
        dilation_h=window.dilations[0], dilation_w=window.dilations[1],
        sweep=sweep, blocks=max(blocks, 1), groups=groups,
        low=tail.low, high=tail.high, epilogue=tail.kernel, epilogue_stages=tail.stages,
    )  # fmt: skip
    return True
