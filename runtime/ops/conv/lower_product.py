"""What convolutions and products share: weights in panels, biases in tiles, the call of the kernel and of a late epilogue."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Node
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.aligned import aligned_empty
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.conv import kernel as kernels
from alula.runtime.ops.conv.kernel_transpose_panels import f32_transpose_panels
from alula.runtime.ops.elementwise.kernel import f32_elementwise
from alula.runtime.ops.elementwise.lower import Epilogue, epilogue
from alula.runtime.ops.movement.lower import copy_view
from alula.runtime.ops.window import Window
from alula.runtime.planning.lowering import Lowering, Ref

WORD = 8


def pack_panels(matrix: Array, tiles: Tiles, target: Array | None = None) -> Array:
    """(K, C_OUT) as panels (ceil(C_OUT / NR), K, NR), flat; the last is only as many steps wide as needed.

    matrix : float32 with any strides; it is read once, by a kernel
    target : where to put them; a new aligned array if None
    """
    k, c_out = matrix.shape
    whole, rest = divmod(c_out, tiles.columns)
    last = tiles.panel_width(rest) if rest else 0
    packed = aligned_empty(k * (whole * tiles.columns + last)) if target is None else target
    size = k * whole * tiles.columns
    if whole:
        column, row = matrix.strides[1] // 4, matrix.strides[0] // 4
        copy_view(matrix, packed, (whole, k, tiles.columns), (tiles.columns * column, row, column))
    if rest:
        packed[size:].reshape(k, last)[:, :rest] = matrix[:, c_out - rest :]
        packed[size:].reshape(k, last)[:, rest:] = 0
    return packed


def panels(tiles: Tiles, group: int = 1) -> Packing:
    """(C_OUT, *kernel, C_IN / group) as the panels of each group, one after the other."""

    def make(filters: Array) -> Array:
        parts = [pack_panels(part.reshape(len(part), -1).T, tiles) for part in np.split(filters, group)]
        return parts[0] if group == 1 else np.concatenate(parts)

    return Packing("panels", make, (group,))


def panels_size(depth: int, c_out: int, tiles: Tiles) -> int:
    """Elements of the panels of a matrix (depth, c_out)."""
    rest = c_out % tiles.columns
    return depth * (c_out - rest + (tiles.panel_width(rest) if rest else 0))


def bias_size(c_out: int, tiles: Tiles) -> int:
    """Elements of a bias of c_out values with what fills its last tile."""
    return -(-c_out // tiles.columns) * tiles.columns


def pack_bias(bias: Array, tiles: Tiles, group: int = 1) -> Array:
    """(C_OUT,), each group's part with zeros up to a whole tile."""
    parts = bias.astype(np.float32).reshape(group, -1)
    return np.pad(parts, ((0, 0), (0, -parts.shape[1] % tiles.columns))).reshape(-1)


def bias_ref(lowering: Lowering, name: str, c_out: int, group: int = 1) -> Ref:
    """The address of a bias of c_out values for each group, or of zeros for one group where there is none."""
    if not name:
        return lowering.zeros(4 * bias_size(c_out, lowering.tiles))
    return lowering.packed(name, Packing("bias", lambda b: pack_bias(b.reshape(-1), lowering.tiles, group), (group,)))


@frozen
class Layer:
    """A convolution, transposed or not, whose weights and bias are constants or variables.

    image : (N, H, W, C) of x; a 1-D one has height 1
    """

    window: Window
    image: tuple[int, ...]
    out: tuple[int, ...]
    tail: Epilogue


def constant_layer(lowering: Lowering, node: Node, window_of: Callable[..., Window]) -> Layer | None:
    """What there is to compute; None if no kernel takes it."""
    x, weight, *bias = node.inputs
    spec, out = lowering.spec(x).dims, lowering.spec(node.outputs[0]).dims
    constants = [weight, *(name for name in bias if name)]
    if lowering.spec(x).dtype != "float32" or len(spec) not in (3, 4) or not all(map(lowering.packable, constants)):
        return None
    tail = epilogue(lowering, node, out)
    if tail is None or 0 in out or 0 in spec:
        return None
    window = planar(window_of(node.attrs, spec, lowering.spec(weight).dims))
    return Layer(window, (spec[0], 1, *spec[1:]) if len(spec) == 3 else spec, out, tail)


def emit_conv(
    lowering: Lowering, x: Ref, weight: Ref, bias: Ref, y: Ref, window: Window, image: tuple[int, ...],
    c_in: int, c_out: int, y_strides: tuple[int, int, int], tail: Epilogue,
) -> None:  # fmt: skip
    """One indirect matrix product. `image` is (N, H, W, C) of x; `y_strides` in elements: image, row, pixel."""
    tiles, threads = lowering.tiles, lowering.n_threads
    taps = math.prod(window.kernel)
    scratch_words = taps * tiles.rows + 8 + tiles.rows * tiles.columns // 2
    scratch_words += -scratch_words % 8
    panels = -(-c_out // tiles.columns)
    pixels = image[0] * window.out[0] * window.out[1]
    row_tiles = -(-pixels // tiles.rows)
    block = min(panels, max(1, tiles.l2_bytes // (4 * taps * c_in * tiles.columns)))
    lowering.emit(
        kernels.f32_conv, x=x, weight=weight, bias=bias, y=y, zeros=lowering.zeros(4 * window.kernel[1] * c_in),
        scratch=lowering.scratch(WORD * scratch_words * threads), scratch_words=scratch_words,
        n=image[0], h=image[1], w=image[2], c_in=c_in, x_stride=image[3],
        h_out=window.out[0], w_out=window.out[1], c_out=c_out, y_image=y_strides[0], y_row=y_strides[1], y_pixel=y_strides[2],
        k_h=window.kernel[0], k_w=window.kernel[1], stride_h=window.strides[0], stride_w=window.strides[1],
        pad_top=window.pads_begin[0], pad_left=window.pads_begin[1],
        dilation_h=window.dilations[0], dilation_w=window.dilations[1], low=tail.low, high=tail.high,
        block_panels=block, split_columns=int(threads > 1 and row_tiles < 4 * threads and panels >= threads),
        epilogue=tail.kernel, epilogue_stages=tail.stages,
    )  # fmt: skip


def emit_epilogue(lowering: Lowering, output: str, rows: int, columns: int, tail: Epilogue) -> None:
    """An epilogue over a finished result, if the kernel could not run it."""
    y = lowering.ref(output)
    lowering.emit(
        f32_elementwise,
        x=y,
        y=y,
        rows=rows,
        channels=columns,
        image_rows=tail.stages[1],
        n_stages=tail.stages[2],
        stages=tail.stages[3:],
    )


def planar(window: Window) -> Window:
    """A 1-D window as a 2-D one over images of height 1."""
    if len(window.out) == 2:
        return window
    w = window
    return Window((1, *w.kernel), (1, *w.strides), (1, *w.dilations), (0, *w.pads_begin), (0, *w.pads_end), (1, *w.out))


def emit_transposed_panels(
    lowering: Lowering, source: Ref, c_in: int, c_out: int, kernel: tuple[int, ...] = (1, 1),
    strides: tuple[int, ...] = (1, 1), first: tuple[int, int] = (0, 0), taps: tuple[int, int] = (1, 1),
) -> Ref:  # fmt: skip
    """From panels of (kernel * c_in, c_out) to panels of (taps * c_out, c_in)."""
    columns = c_in - c_in % lowering.tiles.columns
    columns += lowering.tiles.panel_width(c_in - columns) if c_in > columns else 0
    target = lowering.scratch(4 * math.prod(taps) * c_out * columns)
    lowering.emit(
        f32_transpose_panels, source=source, target=target, c_in=c_in, c_out=c_out, k_h=kernel[0], k_w=kernel[1],
        first_y=first[0], first_x=first[1], stride_h=strides[0], stride_w=strides[1], taps_y=taps[0], taps_x=taps[1],
    )  # fmt: skip
    return target
