# mypy: ignore-errors
"""Gradients of pools over sliding windows: each output pixel's gradient goes back to the pixels of its window.

Windows overlap, so threads divide images and blocks of channels, not pixels. Taps outside the image are cut off.
"""

from alula.runtime.kernels.columns import COLUMNS, Rows, by_columns
from alula.runtime.kernels.fmath import F
from alula.runtime.kernels.lang import COMPILING, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.ops.reduce.kernel import vec_fill

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    I32 = ir.IntType(32)


def max_tile(vectors, width):
    """Add grad_y to grad_x where the window's first largest pixel is, NaN counting as the largest.

    The intrinsic: (at, x, grad_x, row_stride, tap_stride, taps_y, taps_x, grad_y, scale)
    """

    @intrinsic
    def tile(context, at, x, grad_x, row_stride, tap_stride, taps_y, taps_x, grad_y, scale):
        def generate(cx, builder, signature, args):
            at, x, grad_x, row_stride, tap_stride, taps_y, taps_x, grad_y, _ = args
            piece = Rows(builder, vectors, width, at)
            whole = ir.VectorType(I32, width)
            best = [piece.emit.accumulator() for _ in range(vectors)]
            where = [cgutils.alloca_once(builder, whole) for _ in range(vectors)]
            for value, b, w in zip(piece.load(x), best, where, strict=True):
                builder.store(value, b)
                builder.store(ir.Constant(whole, [0] * width), w)

            def each_tap(body):
                with cgutils.for_range(builder, taps_y) as tap_y:
                    line = builder.mul(tap_y.index, row_stride)
                    with cgutils.for_range(builder, taps_x) as tap_x:
                        number = builder.trunc(builder.add(builder.mul(tap_y.index, taps_x), tap_x.index), I32)
                        body(_splat(builder, number, whole), builder.add(line, builder.mul(tap_x.index, tap_stride)))

            def compare(number, place):
                for value, b, w in zip(piece.load(builder.gep(x, [place])), best, where, strict=True):
                    before = builder.load(b)
                    larger = builder.fcmp_unordered(">", value, before)
                    larger = builder.and_(larger, builder.fcmp_ordered("ord", before, before))
                    builder.store(builder.select(larger, value, before), b)
                    builder.store(builder.select(larger, number, builder.load(w)), w)

            each_tap(compare)
            slopes, zero = piece.load(grad_y), piece.emit.constant(0.0)

            def spread(number, place):
                target = builder.gep(grad_x, [place])
                hits = [builder.icmp_signed("==", builder.load(w), number) for w in where]
                shares = [builder.select(hit, slope, zero) for hit, slope in zip(hits, slopes, strict=True)]
                piece.store(piece.map(builder.fadd, piece.load(target), shares), target)

            each_tap(spread)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(i, x, grad_x, i, i, i, i, grad_y, types.float32), generate

    return tile


def _splat(builder, number, kind):
    """A vector of one integer."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(kind, [0] * kind.count))


def mean_tile(vectors, width):
    """Add grad_y * scale to every pixel of the window. The intrinsic takes what `max_tile`'s does."""

    @intrinsic
    def tile(context, at, x, grad_x, row_stride, tap_stride, taps_y, taps_x, grad_y, scale):
        def generate(cx, builder, signature, args):
            at, _, grad_x, row_stride, tap_stride, taps_y, taps_x, grad_y, scale = args
            piece = Rows(builder, vectors, width, at)
            factor = piece.emit.splat(scale)
            shares = [builder.fmul(slope, factor) for slope in piece.load(grad_y)]
            with cgutils.for_range(builder, taps_y) as tap_y:
                line = builder.gep(grad_x, [builder.mul(tap_y.index, row_stride)])
                with cgutils.for_range(builder, taps_x) as tap_x:
                    target = builder.gep(line, [builder.mul(tap_x.index, tap_stride)])
                    piece.store(piece.map(builder.fadd, piece.load(target), shares), target)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(i, x, grad_x, i, i, i, i, grad_y, types.float32), generate

    return tile


WINDOW = "x, dx, row_stride, tap_stride, taps_y, taps_x, dy, scale"
spread_max, spread_mean = by_columns(max_tile, WINDOW), by_columns(mean_tile, WINDOW)


@kernel(compact=True)
def f32_pool_grad(
    grad_y: f32p, x: f32p, grad_x: f32p, counts_y: f32p, counts_x: f32p, largest: i64, n: i64, h: i64, w: i64, c: i64,
    h_out: i64, w_out: i64, k_h: i64, k_w: i64, stride_h: i64, stride_w: i64, pad_top: i64, pad_left: i64,
    dilation_h: i64, dilation_w: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """grad_x: (n, h, w, c), the gradient of the largest pixel of each window, or of its mean; x is read for the largest alone."""
    blocks = (c + COLUMNS - 1) // COLUMNS
    units = n * blocks
    row_stride, tap_stride = dilation_h * w * c, dilation_w * c
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        image, at = unit // blocks, unit % blocks * COLUMNS
        end = min(at + COLUMNS, c)
        if at == 0 and end == c:
            vec_fill(offset(grad_x, image * h * w * c), h * w * c, F(0.0))
        else:
            for pixel in range(h * w):
                vec_fill(offset(grad_x, (image * h * w + pixel) * c + at), end - at, F(0.0))
        for out_y in range(h_out):
            top = out_y * stride_h - pad_top
            first_y = (-top + dilation_h - 1) // dilation_h if top < 0 else 0
            last_y = min(k_h, (h - top + dilation_h - 1) // dilation_h) if top < h else 0
            for out_x in range(w_out):
                left = out_x * stride_w - pad_left
                first_x = (-left + dilation_w - 1) // dilation_w if left < 0 else 0
                last_x = min(k_w, (w - left + dilation_w - 1) // dilation_w) if left < w else 0
                if last_y > first_y and last_x > first_x:
                    begin = ((image * h + top + first_y * dilation_h) * w + left + first_x * dilation_w) * c
                    slope = offset(grad_y, ((image * h_out + out_y) * w_out + out_x) * c)
                    taps_y, taps_x, target = last_y - first_y, last_x - first_x, offset(grad_x, begin)
                    if largest != 0:
                        source = offset(x, begin)
                        spread_max(at, end, source, target, row_stride, tap_stride, taps_y, taps_x, slope, F(1.0))
                    else:
                        scale = F(1.0) / (counts_y[out_y] * counts_x[out_x])
                        spread_mean(at, end, target, target, row_stride, tap_stride, taps_y, taps_x, slope, scale)
