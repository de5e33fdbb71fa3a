"""ConvInteger and QLinearConv with constant weights: how weights are packed, and how zero points are removed."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Node
from alula.runtime.kernels.tiles import S8Tiles
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.conv.lower_product import planar
from alula.runtime.ops.conv.op import conv_window
from alula.runtime.ops.integer import kernel as kernels
from alula.runtime.ops.integer.op import MAX_WEIGHT, factors
from alula.runtime.ops.window import Window
from alula.runtime.planning.lowering import Lowering, Ref, lowers


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


@lowers("ConvInteger")
def lower_conv_integer(lowering: Lowering, node: Node) -> bool:
    """1-D and 2-D, int32 sums."""
    x, weight, x_zero, w_zero = (*node.inputs, "", "")[:4]
    return _lower(lowering, node, Operands(x, weight, x_zero, w_zero), ())


@lowers("QLinearConv")
def lower_qlinear_conv(lowering: Lowering, node: Node) -> bool:
    """1-D and 2-D, int8 or uint8 codes."""
    x, x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero, bias = (*node.inputs, "")[:9]
    return _lower(lowering, node, Operands(x, weight, x_zero, w_zero, bias), (x_scale, w_scale, y_scale, y_zero))


def shifted_weights(weight: Array, zero: Array | None) -> Array:
    """Weights less their zero points, (C_OUT, ...) as int16."""
    each = 0 if zero is None else zero.astype(np.int16).reshape(-1, *[1] * (weight.ndim - 1))
    return np.asarray(weight.astype(np.int16) - each)


@frozen
class Image:
    """int8 images with their border, as the kernel walks them: (N, H, W, C), all of whose windows lie inside.

    ref  : of the first channel of a group
    zero : what stands for 0
    """

    ref: Ref
    dims: tuple[int, ...]
    zero: int


@frozen
class Runs:
    """How a tile walks the inputs of a pixel: runs of `length` bytes each, which begin `offsets` bytes after the first."""

    offsets: tuple[int, ...]
    length: int

    @classmethod
    def of(cls, window: Window, image: tuple[int, ...], c_in: int) -> Runs:
        """A row of the window is one run where its pixels lie next to each other."""
        (k_h, k_w), (d_h, d_w), (width, pixel) = window.kernel, window.dilations, image[2:]
        if d_w == 1 and pixel == c_in:
            return cls(tuple(y * d_h * width * pixel for y in range(k_h)), k_w * c_in)
        taps = ((y, x) for y in range(k_h) for x in range(k_w))
        return cls(tuple((y * d_h * width + x * d_w) * pixel for y, x in taps), c_in)

    def gathered_bytes(self, tiles: S8Tiles) -> int:
        """Bytes of a pixel's inputs where they must be gathered; 0 where a tile reads the image itself."""
        if self.length % tiles.step == 0 and self.length >= 16:
            return 0
        return -(-len(self.offsets) * self.length // tiles.step) * tiles.step


def pack_s8_panels(matrix: Array, tiles: S8Tiles, run: int) -> Array:
    """(C_OUT, K) int8 as panels in the tile's layout (ops/integer/kernel_tile.py), flat.

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
    x, out = lowering.spec(given.x), lowering.spec(node.outputs[0])
    constants = (given.weight, given.x_zero, given.w_zero, given.bias, *coding)
    if node.fused or len(x.dims) not in (3, 4) or not all(lowering.known(name) for name in constants if name):
        return False
    if 0 in x.dims or 0 in out.dims:
        return False
    weight = lowering.value(given.weight)
    assert weight is not None
    weights = shifted_weights(weight, _value(lowering, given.w_zero))
    if np.abs(weights).max() > MAX_WEIGHT:
        return False
    window = planar(conv_window(node.attrs, x.dims, weight.shape))
    image = _image(lowering, given, window)
    c_out, groups = out.dims[-1], node.attrs.group
    bias = _value(lowering, given.bias)
    sums = weights.reshape(c_out, -1).sum(1, dtype=np.int64)
    biases = (0 if bias is None else bias.astype(np.int64)) - image.zero * sums
    codes = _coding(lowering, coding, c_out)
    filters, c_in, y = c_out // groups, image.dims[-1] // groups, lowering.ref(node.outputs[0])
    for g in range(groups):
        rows = slice(g * filters, (g + 1) * filters)
        part = Image(image.ref + g * c_in, image.dims, image.zero)
        _emit(
            lowering, given, f"s8 {g}/{groups}", weights[rows].reshape(filters, -1), biases[rows],
            codes and Coding(codes.factors[rows], codes.zero, codes.dtype), window, part,
            y + g * filters * (1 if codes else 4), c_out,
        )  # fmt: skip
    return True


def _image(lowering: Lowering, given: Operands, window: Window) -> Image:
    """The input as int8 and with a border, in a copy if need be."""
    spec, zero = lowering.spec(given.x), _scalar(lowering, given.x_zero)
    n, h, w, c = (spec.dims[0], 1, *spec.dims[1:]) if len(spec.dims) == 3 else spec.dims
    flip = 128 if spec.dtype == "uint8" else 0
    (top, left), (bottom, right) = window.pads_begin, window.pads_end
    if not (flip or top or left or bottom or right):
        return Image(lowering.ref(given.x), (n, h, w, c), zero)
    dims = (n, top + h + bottom, left + w + right, c)
    copy = lowering.scratch(math.prod(dims))
    lowering.emit(
        kernels.s8_border, x=lowering.ref(given.x), y=copy, images=n, h=h, row=w * c, top=top, bottom=bottom,
        left=left * c, right=right * c, value=zero - flip, flip=-flip,
    )  # fmt: skip
    return Image(copy, dims, zero - flip)


def _emit(
    lowering: Lowering, given: Operands, part: str, matrix: Array, bias: Array, codes: Coding | None, window: Window,
    image: Image, y: Ref, y_pixel: int,
) -> None:  # fmt: skip
    """One group's product. `matrix` is (filters, K), `bias` (filters,) with the zero point's share."""
    tiles, threads = lowering.tiles.s8, lowering.n_threads
    filters, c_in = len(matrix), matrix.shape[1] // math.prod(window.kernel)
    n, h, w, pixel = image.dims
    runs, (h_out, w_out) = Runs.of(window, image.dims, c_in), window.out
    if window.kernel == window.strides == (1, 1) and (h_out, w_out) == (h, w):
        n, h_out, w_out = 1, 1, n * h * w  # the pixels are one row
    gathered = runs.gathered_bytes(tiles)
    k_panel = gathered or matrix.shape[1]
    order = Packing(
        f"{part}|{given.w_zero}", lambda _: pack_s8_panels(matrix.astype(np.int8), tiles, gathered or runs.length)
    )
    weight = lowering.packed(given.weight, order)
    spare = -filters % 4
    scratch = 64 + 4 * tiles.rows * tiles.columns + tiles.rows * gathered
    scratch += -scratch % 64
    panels = -(-filters // tiles.columns)
    row_tiles = n * h_out * -(-w_out // tiles.rows)
    flip = 128 if codes is not None and codes.dtype == "uint8" else 0
    lowering.emit(
        kernels.s8_conv if codes else kernels.s8_conv_s32, x=image.ref, weight=weight, y=y, y_pixel=y_pixel,
        bias=lowering.table(np.pad(bias, (0, spare)).astype(np.int32)),
        factor=lowering.table(np.pad(codes.factors, (0, spare))) if codes else 0,
        offsets=lowering.table(np.array(runs.offsets, np.int64)), taps=len(runs.offsets), length=runs.length,
        scratch=lowering.scratch(scratch * threads), scratch_size=scratch,
        n=n, image_pixels=h * w, row_pixels=w, x_pixel=pixel, h_out=h_out, w_out=w_out, c_out=filters,
        stride_h=window.strides[0], stride_w=window.strides[1], gathered=gathered, k_panel=k_panel,
        zero=codes.zero - flip if codes else 0, flip=flip,
        block_panels=min(panels, max(1, lowering.tiles.l2_bytes // (k_panel * tiles.columns))),
        split_columns=int(threads > 1 and row_tiles < 4 * threads and panels >= threads),
    )  # fmt: skip


def _coding(lowering: Lowering, names: tuple[str, ...], c_out: int) -> Coding | None:
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
