# mypy: ignore-errors
"""Weight gradients of a 3x3 convolution of stride 1 by Winograd's minimal filtering: F(3x3, 4x4).

The gradient is also a correlation: of tiles of 6x6 inputs with tiles of 4x4 output gradients. With the interpolation points
of F(4x4, 3x3) its input transform is the same. Summed over tiles, each of the 36 components is a matrix product
inputs^T gradients, computed by the kernel of direct weight gradients. One inverse transform at the end gives the 9 taps.
It includes the factors of the gradients' transform, so a tile costs only additions.
"""

from functools import partial

from alula.runtime.kernels.lang import COMPILING, device, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import address_of, call_kernel, i64_at, offset
from alula.runtime.kernels.simd import TILES
from alula.runtime.ops.conv.kernel import panel_width
from alula.runtime.ops.conv.kernel_winograd import (
    TransformEmitter,
    copy_run,
    fill_zero,
    grid_of,
    transform_input,
    twice,
)
from alula.runtime.ops.conv.kernel_winograd_weights import FilterEmitter

if COMPILING:
    from numba.core import types

    from alula.runtime.ops.conv.kernel import NR, STEP

    W = TILES.width

ARGUMENT_WORDS = 32  # of the kernel of products


def _gradient_first(e, d):
    """Rows 0 to 2 of G of F(3, 4) without its factors, on 4 vectors."""
    even, odd = e.add(d[0], d[2]), e.add(d[1], d[3])
    return [d[0], e.add(even, odd), e.sub(even, odd)]


def _gradient_last(e, d):
    """Rows 3 to 5."""
    even, odd = e.axpy(4.0, d[2], d[0]), e.axpy(4.0, d[3], d[1])
    return [e.axpy(2.0, odd, even), e.axpy(-2.0, odd, even), d[3]]


GRADIENT = [(_gradient_first, range(4), range(3)), (_gradient_last, range(4), range(3, 6))]


def gradient_transform(width):
    """The intrinsic: (source, row_stride, pixel_stride, target, component_stride), one vector of channels."""

    @intrinsic
    def run(context, source, row_stride, pixel_stride, target, component_stride):
        def generate(cx, builder, signature, args):
            source, row_stride, pixel_stride, target, component_stride = args
            emit = TransformEmitter(builder, width)
            pixels = grid_of(emit, source, row_stride, pixel_stride, 4, 4)
            loads = [[partial(emit.load, pixel) for pixel in row] for row in pixels]
            grid = grid_of(emit, target, builder.mul(emit.index(6), component_stride), component_stride, 6, 6)
            for row, values in twice(emit, GRADIENT, GRADIENT, loads):
                for value, place in zip(values, grid[row], strict=True):
                    emit.store(value, place)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(source, i, i, target, i), generate

    return run


def _taps_even(e, m):
    """Rows 0 and 2 of A' of F(3, 4), with the factors that the gradients' transform left out, on 6 vectors."""
    far, near = e.add(m[3], m[4]), e.builder.fneg(e.builder.fmul(e.factor(1 / 6), e.add(m[1], m[2])))
    first = e.fma(e.factor(1 / 4), m[0], near)
    return [e.fma(e.factor(1 / 24), far, first), e.add(e.fma(e.factor(1 / 6), far, near), m[5])]


def _taps_odd(e, m):
    """Row 1, on vectors 1 to 4."""
    near = e.builder.fmul(e.factor(1 / 6), e.sub(m[1], m[0]))
    return [e.fma(e.factor(1 / 12), e.sub(m[2], m[3]), near)]


TAPS = [(_taps_even, range(6), (0, 2)), (_taps_odd, range(1, 5), (1,))]


def taps_transform(width):
    """The intrinsic: (source, component, target, tap, fresh): 36 vectors `component` elements apart, 9 of `tap`."""

    @intrinsic
    def run(context, source, component, target, tap, fresh):
        def generate(cx, builder, signature, args):
            source, component, target, tap, fresh = args
            emit = FilterEmitter(builder, width, 4)
            new = builder.icmp_signed("!=", fresh, emit.index(0))
            loads = [[partial(emit.load_at, source, (6 * i + j, component)) for j in range(6)] for i in range(6)]
            for i, values in twice(emit, TAPS, TAPS, loads):
                for j, value in enumerate(values):
                    before = builder.select(new, emit.constant(0.0), emit.load_at(target, (3 * i + j, tap)))
                    emit.store_at(emit.add(value, before), target, (3 * i + j, tap))
            return cx.get_dummy_value()

        return types.void(source, types.int64, target, types.int64, types.int64), generate

    return run


if COMPILING:
    forward = gradient_transform(W)
    whole_taps, half_taps = taps_transform(W), taps_transform(STEP)


@device
def transform_gradient(grad_y, pixel_stride, patch, v, v_stride, rows, columns, w, c):
    """One tile's transform: `rows` x `columns` pixels of grad_y, at most 4x4, w pixels in a line -> 36 rows of c."""
    source, row_stride = grad_y, w * pixel_stride
    if rows < 4 or columns < 4:  # the tile hangs over the border: a copy with zeros around
        fill_zero(patch, 16 * c)
        for i in range(rows):
            for j in range(columns):
                copy_run(offset(grad_y, i * row_stride + j * pixel_stride), offset(patch, (i * 4 + j) * c), c)
        source, row_stride, pixel_stride = patch, 4 * c, c
    for k in range((c + W - 1) // W):
        at = min(k * W, c - W)  # the last vector may overlap the one before it
        forward(offset(source, at), row_stride, pixel_stride, offset(v, at), v_stride)


@kernel
def f32_winograd_weight_products(
    x: f32p, grad_y: f32p, dy_stride: i64, sums: f32p, sums_size: i64, scratch: f32p, scratch_size: i64, product: i64,
    n: i64, h: i64, w: i64, c_in: i64, h_out: i64, w_out: i64, c_out: i64, pad_top: i64, pad_left: i64, block: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """sums, for each thread: panels of (36 * (c_in + 1), c_out), the components summed over its tiles.

    dy_stride: channels of grad_y in all; product: f32_conv_weight_grad; block: tiles at a time
    scratch, for each thread: arguments, transformed inputs, transformed gradients, a patch
    """
    # Tiles from a component to the next: one more, for products read a vector too far; odd, for the sets of the cache
    line = (block + 1) | 1
    arguments = i64_at(address_of(offset(scratch, tid * scratch_size)))
    inputs = offset(scratch, tid * scratch_size + 2 * ARGUMENT_WORDS)
    gradients = offset(inputs, 36 * line * c_in)
    patch = offset(gradients, 36 * line * c_out)
    tiles_y, tiles_x = (h_out + 3) // 4, (w_out + 3) // 4
    tiles = n * tiles_y * tiles_x
    begin, end = tiles * tid // n_threads, tiles * (tid + 1) // n_threads
    blocks = (end - begin + block - 1) // block
    arguments[0], arguments[1] = address_of(inputs), address_of(gradients)
    arguments[2] = address_of(offset(sums, tid * sums_size))
    for i in range(3, 26):
        arguments[i] = 1  # n, lines of outputs, the second direction of the kernel, strides, dilations, blocks
    arguments[4], arguments[5], arguments[6], arguments[7] = 36, line, c_in, c_in  # h, w, c_in, x_stride
    arguments[10], arguments[11], arguments[12] = c_out, c_out, 36  # c_out, dy_stride, k_h
    arguments[16], arguments[17], arguments[20] = 0, 0, 0  # no padding, not merged
    arguments[23], arguments[24] = line * c_out, c_in + 1  # from one tap to the next: gradients, rows of the target
    for b in range(blocks):
        first, last = begin + (end - begin) * b // blocks, begin + (end - begin) * (b + 1) // blocks
        image, top, left = first // (tiles_y * tiles_x), first // tiles_x % tiles_y * 4, first % tiles_x * 4
        for t in range(last - first):
            transform_input(
                4, offset(x, image * h * w * c_in), patch, offset(inputs, t * c_in), line * c_in,
                top - pad_top, left - pad_left, h, w, c_in,
            )  # fmt: skip
            transform_gradient(
                offset(grad_y, ((image * h_out + top) * w_out + left) * dy_stride), dy_stride, patch,
                offset(gradients, t * c_out), line * c_out, min(4, h_out - top), min(4, w_out - left), w_out, c_out,
            )  # fmt: skip
            left += 4
            if left >= w_out:
                left = 0
                top += 4
                if top >= h_out:
                    top = 0
                    image += 1
        arguments[9] = last - first  # w_out
        arguments[25] = min(b, 1)  # accumulate
        call_kernel(product, address_of(arguments), 0, 1)


@kernel(compact=True)
def f32_winograd_weight_taps(
    sums: f32p, sums_size: i64, shares: i64, target: f32p, c_in: i64, c_out: i64, tid: i64, n_threads: i64
):
    """From panels of (36 * (c_in + 1), c_out), one set for each share of the tiles, to panels of (9 * c_in, c_out)."""
    for row in range(c_in * tid // n_threads, c_in * (tid + 1) // n_threads):
        for panel in range(0, c_out, NR):
            width = panel_width(c_out - panel)
            for share in range(shares):
                source = offset(sums, share * sums_size + panel * 36 * (c_in + 1) + row * width)
                out = offset(target, panel * 9 * c_in + row * width)
                fresh = 1 if share == 0 else 0
                column = 0
                while column < width:
                    if width - column >= W:
                        whole_taps(offset(source, column), (c_in + 1) * width, offset(out, column), c_in * width, fresh)
                        column += W
                    else:
                        half_taps(offset(source, column), (c_in + 1) * width, offset(out, column), c_in * width, fresh)
                        column += STEP
