"""ConvInteger and QLinearConv with constant weights: how weights are packed, and what becomes of zero points."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Node
from alula.runtime.kernels import s8_conv as kernels
from alula.runtime.kernels.tiles import S8Tiles
from alula.runtime.lower.conv import planar
from alula.runtime.lowering import Lowering, Ref
from alula.runtime.ops.window import Window

CODES = ("int8", "uint8")
MOST = 127  # of a weight, either sign: two products of int8 must fit int16 together (kernels/s8_tile.py)


@frozen
class Operands:
    """The inputs that both ops have, by name; "" where one is absent."""

    x: str
    weight: str
    x_zero: str
    w_zero: str
    bias: str = ""


@frozen
class Coding:
    """From sums to codes: a factor for each output channel, and the output's zero point and dtype."""

    factors: Array
    zero: int
    dtype: str


def lower_conv_integer(lowering: Lowering, node: Node) -> bool:
    """1-D and 2-D, int32 sums."""
    x, weight, x_zero, w_zero = (*node.inputs, "", "")[:4]
    return _lower(lowering, node, Operands(x, weight, x_zero, w_zero), ())


def lower_qlinear_conv(lowering: Lowering, node: Node) -> bool:
    """1-D and 2-D, int8 or uint8 codes."""
    x, x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero, bias = (*node.inputs, "")[:9]
    return _lower(lowering, node, Operands(x, weight, x_zero, w_zero, bias), (x_scale, w_scale, y_scale, y_zero))


def shifted_weights(weight: Array, zero: Array | None) -> Array:
    """Weights less their zero points, (C_OUT, ...) as int16."""
    each = 0 if zero is None else zero.astype(np.int16).reshape(-1, *[1] * (weight.ndim - 1))
    return np.asarray(weight.astype(np.int16) - each)


def gathered_bytes(tiles: S8Tiles, taps: int, c_in: int) -> int:
    """Bytes of a pixel's inputs where they must be gathered; 0 where a tile reads the picture itself."""
    if c_in % 16 == 0 or (c_in > 16 and c_in % tiles.step == 0):
        return 0
    return -(-taps * c_in // tiles.step) * tiles.step


def pack_s8_panels(matrix: Array, tiles: S8Tiles, run: int) -> Array:
    """(C_OUT, K) int8 as panels in the tile's layout (kernels/s8_tile.py), flat.

    run : length of the runs of inputs, of which K is a multiple; K is filled with zeros to one run if it is shorter
    """
    c_out, k = matrix.shape
    matrix = np.pad(matrix, ((0, -c_out % 4), (0, -k % run)))
    parts = []
    for first in range(0, len(matrix), tiles.columns):
        panel = matrix[first : first + tiles.columns]
        if tiles.by_lane:
            parts.append(panel.reshape(len(panel), -1, 4).transpose(1, 0, 2).reshape(-1))
            continue
        runs, whole = panel.reshape(len(panel), -1, run).transpose(1, 0, 2), run // 16 * 16  # (runs, columns, run)
        blocks = runs[:, :, :whole].reshape(len(runs), len(panel), -1, 16).transpose(0, 2, 1, 3)
        halves = [blocks.reshape(len(runs), -1), runs[:, :, whole:].reshape(len(runs), -1)]
        parts.append(np.concatenate(halves, axis=1).reshape(-1))
    return np.concatenate(parts)


def _lower(lowering: Lowering, node: Node, given: Operands, coding: tuple[str, ...]) -> bool:
    from alula.runtime.ops.conv import conv_window

    x, out = lowering.spec(given.x), lowering.spec(node.outputs[0])
    constants = (given.weight, given.x_zero, given.w_zero, given.bias, *coding)
    if node.fused or len(x.dims) not in (3, 4) or not all(lowering.known(name) for name in constants if name):
        return False
    if 0 in x.dims or 0 in out.dims:
        return False
    weight = lowering.value(given.weight)
    assert weight is not None
    weights = shifted_weights(weight, _value(lowering, given.w_zero))
    if np.abs(weights).max() > MOST:
        return False
    window = planar(conv_window(node.attrs, x.dims, weight.shape))
    picture = (x.dims[0], 1, *x.dims[1:]) if len(x.dims) == 3 else x.dims
    zero, source = _scalar(lowering, given.x_zero), lowering.ref(given.x)
    if x.dtype == "uint8":
        zero, source = zero - 128, lowering.scratch(x.size)
        lowering.emit(kernels.s8_from_u8, x=lowering.ref(given.x), y=source, n=x.size)
    c_out, groups = out.dims[-1], node.attrs.group
    bias = _value(lowering, given.bias)
    sums = weights.reshape(c_out, -1).sum(1, dtype=np.int64)
    biases = (0 if bias is None else bias.astype(np.int64)) - zero * sums  # padding holds `zero` as well
    codes = _coding(lowering, coding, c_out)
    size = 1 if codes else 4
    filters, c_in = c_out // groups, picture[-1] // groups
    for g in range(groups):
        rows = slice(g * filters, (g + 1) * filters)
        _emit(
            lowering, given, f"{g}/{groups}", weights[rows].astype(np.int8).reshape(filters, -1), biases[rows],
            codes and Coding(codes.factors[rows], codes.zero, codes.dtype), window, picture, zero, c_in,
            source + g * c_in, lowering.ref(node.outputs[0]) + size * g * filters, c_out,
        )  # fmt: skip
    return True


def _emit(
    lowering: Lowering, given: Operands, part: str, matrix: Array, bias: Array, codes: Coding | None, window: Window,
    picture: tuple[int, ...], zero: int, c_in: int, x: Ref, y: Ref, y_pixel: int,
) -> None:  # fmt: skip
    """One group's product. `matrix` is (filters, K), `bias` (filters,) with the zero point's share."""
    tiles, threads = lowering.tiles.s8, lowering.n_threads
    filters, taps = len(matrix), math.prod(window.kernel)
    gathered = gathered_bytes(tiles, taps, c_in)
    k_panel = gathered or taps * c_in
    weight = lowering.packed(
        given.weight, f"s8 panels{part}|{given.w_zero}", lambda _: pack_s8_panels(matrix, tiles, gathered or c_in)
    )
    spare = -filters % 4
    scratch = 8 * taps * tiles.rows + 4 * tiles.rows * tiles.columns + tiles.rows * gathered
    scratch += -scratch % 64
    panels = -(-filters // tiles.columns)
    row_tiles = -(-picture[0] * math.prod(window.out) // tiles.rows)
    is_u8 = codes is not None and codes.dtype == "uint8"
    lowering.emit(
        kernels.s8_conv if codes else kernels.s8_conv_s32, x=x, weight=weight, y=y, y_pixel=y_pixel,
        bias=lowering.table(np.pad(bias, (0, spare)).astype(np.int32)),
        factor=lowering.table(np.pad(codes.factors, (0, spare))) if codes else 0,
        padding=lowering.table(np.full(window.kernel[1] * c_in + 16, zero, np.int8)),
        scratch=lowering.scratch(scratch * threads), scratch_size=scratch,
        n=picture[0], h=picture[1], w=picture[2], c_in=c_in, x_pixel=picture[3],
        h_out=window.out[0], w_out=window.out[1], c_out=filters, k_h=window.kernel[0], k_w=window.kernel[1],
        stride_h=window.strides[0], stride_w=window.strides[1], pad_top=window.pads_begin[0], pad_left=window.pads_begin[1],
        dilation_h=window.dilations[0], dilation_w=window.dilations[1], gathered=gathered, k_panel=k_panel,
        zero=codes.zero - 128 * is_u8 if codes else 0, low=-128, high=127, flip=128 * is_u8,
        block_panels=min(panels, max(1, lowering.tiles.l2_bytes // (k_panel * tiles.columns))),
        split_columns=int(threads > 1 and row_tiles < 4 * threads and panels >= threads),
    )  # fmt: skip


def _coding(lowering: Lowering, names: tuple[str, ...], c_out: int) -> Coding | None:
    from alula.runtime.ops.integer import factors

    if not names:
        return None
    x_scale, w_scale, y_scale, zero = (np.asarray(lowering.value(name)) for name in names)
    each = np.broadcast_to(factors(x_scale, w_scale, y_scale), (c_out,))
    return Coding(each, int(zero.reshape(())), zero.dtype.name)


def _value(lowering: Lowering, name: str) -> Array | None:
    return lowering.value(name) if name else None


def _scalar(lowering: Lowering, name: str) -> int:
    value = _value(lowering, name)
    return 0 if value is None else int(value.reshape(()))
