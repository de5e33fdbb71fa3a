"""Depthwise convolution, channels-last: vectors of channels, a few output pixels of a row at a time.

Rows of the kernel that fall outside the picture are left out; columns outside read zeros.
"""

from alula.runtime.kernels.lang import COMPILING, device, f32, f32p, i64, i64p, intrinsic, kernel, words
from alula.runtime.kernels.memory import address_of, call_kernel, offset
from alula.runtime.kernels.simd import TILES, Emitter

if COMPILING:
    from numba.core import cgutils, types

    W = TILES.width

PIXELS = 4  # per tile
TILED_KERNELS, TILED_STRIDES = (3, 5), (1, 2)  # other widths and strides go pixel by pixel


def depthwise_tile(pixels, k_w, stride, width, guarded):
    """`pixels` outputs of a row for one vector of channels, all columns of the kernel, `taps_y` rows of it.

    The intrinsic: (x, row_stride, c, taps_y, weight, bias, y, low, high, left, w, zeros); pixels of x and y and taps of
    the weight are c elements apart. guarded: the first input is column `left` of a row of `w`; columns outside read zeros.
    """

    @intrinsic
    def tile(context, x, row_stride, c, taps_y, weight, bias, y, low, high, left, w, zeros):
        def generate(cx, builder, signature, args):
            x, row_stride, c, taps_y, weight, bias, y, low, high, left, w, zeros = args
            emit = Emitter(builder, width)
            sums = [emit.accumulator() for _ in range(pixels)]
            start = emit.load(bias)
            for place in sums:
                builder.store(start, place)
            with cgutils.for_range(builder, taps_y) as tap:
                line = builder.gep(x, [builder.mul(tap.index, row_stride)])
                filters = builder.gep(weight, [builder.mul(builder.mul(tap.index, emit.index(k_w)), c)])
                taps = [emit.load_at(filters, (k, c)) for k in range(k_w)]
                inputs = []
                for i in range((pixels - 1) * stride + k_w):
                    place = builder.gep(line, [builder.mul(emit.index(i), c)])
                    if guarded:  # one comparison for both borders: a negative column is a large unsigned one
                        column = builder.add(left, emit.index(i))
                        place = builder.select(builder.icmp_unsigned("<", column, w), place, zeros)
                    inputs.append(emit.load(place))
                for p, place in enumerate(sums):
                    total = builder.load(place)
                    for k in range(k_w):
                        total = emit.fma(inputs[p * stride + k], taps[k], total)
                    builder.store(total, place)
            low, high = emit.splat(low), emit.splat(high)
            for p, place in enumerate(sums):
                emit.store_at(emit.clamp(builder.load(place), low, high), y, (p, c))
            return cx.get_dummy_value()

        i = types.int64
        return types.void(x, i, i, i, weight, bias, y, low, high, i, i, zeros), generate

    return tile


def edge_pixel(width):
    """One output pixel for one vector of channels, any rows and columns of the kernel.

    The intrinsic: (x, row_stride, tap_stride, taps_y, taps_x, weight, weight_row, weight_stride, bias, y, low, high).
    """

    @intrinsic
    def pixel(
        context, x, row_stride, tap_stride, taps_y, taps_x, weight, weight_row, weight_stride, bias, y, low, high
    ):
        def generate(cx, builder, signature, args):
            x, row_stride, tap_stride, taps_y, taps_x, weight, weight_row, weight_stride, bias, y, low, high = args
            emit = Emitter(builder, width)
            place = emit.accumulator()
            builder.store(emit.load(bias), place)
            with cgutils.for_range(builder, taps_y) as tap_y:
                line = builder.gep(x, [builder.mul(tap_y.index, row_stride)])
                filters = builder.gep(weight, [builder.mul(tap_y.index, weight_row)])
                with cgutils.for_range(builder, taps_x) as tap_x:
                    value = emit.load(builder.gep(line, [builder.mul(tap_x.index, tap_stride)]))
                    factor = emit.load(builder.gep(filters, [builder.mul(tap_x.index, weight_stride)]))
                    builder.store(emit.fma(value, factor, builder.load(place)), place)
            emit.store(emit.clamp(builder.load(place), emit.splat(low), emit.splat(high)), y)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(x, i, i, i, i, weight, i, i, bias, y, low, high), generate

    return pixel


def row_runner(width):
    """A device function that computes one row of outputs with vectors of `width` channels."""
    if not COMPILING:
        return None
    lines = [
        "def run_tile(k_w, stride, guarded, x, row_stride, c, taps_y, weight, bias, y, low, high, left, w, zeros):"
    ]
    scope = {}
    for k_w in TILED_KERNELS:
        for stride in TILED_STRIDES:
            for guarded in (False, True):
                name = f"tile_{k_w}_{stride}_{int(guarded)}"
                scope[name] = depthwise_tile(PIXELS, k_w, stride, width, guarded)
                lines.append(
                    f"    if k_w == {k_w} and stride == {stride} and guarded == {guarded}:\n"
                    f"        {name}(x, row_stride, c, taps_y, weight, bias, y, low, high, left, w, zeros)"
                )
    exec("\n".join(lines), scope)
    run_tile, pixel = device(scope["run_tile"]), edge_pixel(width)

    def run_row(
        x,
        weight,
        bias,
        y,
        zeros,
        w,
        c,
        w_out,
        first_tap,
        taps_y,
        k_w,
        row_stride,
        stride_w,
        pad_left,
        dilation_w,
        low,
        high,
    ):
        tiled = dilation_w == 1 and (k_w == 3 or k_w == 5) and (stride_w == 1 or stride_w == 2) and w_out >= PIXELS
        tiles = (w_out + PIXELS - 1) // PIXELS if tiled else 0
        filters = offset(weight, first_tap * k_w * c)
        for v in range((c + width - 1) // width):
            at = min(v * width, c - width)  # the last vector may overlap the one before it
            factors, start = offset(filters, at), offset(bias, at)
            for t in range(tiles):
                out_x = min(t * PIXELS, w_out - PIXELS)  # so may the last tile
                left = out_x * stride_w - pad_left
                source, target = offset(x, left * c + at), offset(y, out_x * c + at)
                guarded = left < 0 or left + (PIXELS - 1) * stride_w + k_w > w
                run_tile(
                    k_w,
                    stride_w,
                    guarded,
                    source,
                    row_stride,
                    c,
                    taps_y,
                    factors,
                    start,
                    target,
                    low,
                    high,
                    left,
                    w,
                    zeros,
                )
            for out_x in range(w_out if not tiled else 0):
                left = out_x * stride_w - pad_left
                first = (-left + dilation_w - 1) // dilation_w if left < 0 else 0
                last = min(k_w, (w - left + dilation_w - 1) // dilation_w) if left < w else first
                source = offset(x, (left + first * dilation_w) * c + at)
                pixel(source, row_stride, dilation_w * c, taps_y, max(last - first, 0), offset(factors, first * c), k_w * c, c,
                      start, offset(y, out_x * c + at), low, high)  # fmt: skip

    return device(run_row)


run_wide, run_half = row_runner(TILES.width if COMPILING else 0), row_runner(TILES.width // 2 if COMPILING else 0)


@kernel
def f32_depthwise(
    x: f32p, weight: f32p, bias: f32p, y: f32p, zeros: f32p, scratch: i64p, n: i64, h: i64, w: i64, c: i64, h_out: i64, w_out: i64,
    k_h: i64, k_w: i64, stride_h: i64, stride_w: i64, pad_top: i64, pad_left: i64, dilation_h: i64, dilation_w: i64,
    low: f32, high: f32, epilogue: i64, chain: words, tid: i64, n_threads: i64,
):  # fmt: skip
    """y: (n, h_out, w_out, c); weight: (k_h, k_w, c); c is at least half a vector. scratch: 8 words a thread."""
    lines = n * h_out
    for line in range(lines * tid // n_threads, lines * (tid + 1) // n_threads):
        image, out_y = line // h_out, line % h_out
        top = out_y * stride_h - pad_top
        first = (-top + dilation_h - 1) // dilation_h if top < 0 else 0
        last = min(k_h, (h - top + dilation_h - 1) // dilation_h) if top < h else first
        taps_y = max(last - first, 0)
        source = offset(x, (image * h + top + first * dilation_h) * w * c)
        target = offset(y, line * w_out * c)
        row_stride = dilation_h * w * c
        if c >= W:
            run_wide(
                source,
                weight,
                bias,
                target,
                zeros,
                w,
                c,
                w_out,
                first,
                taps_y,
                k_w,
                row_stride,
                stride_w,
                pad_left,
                dilation_w,
                low,
                high,
            )
        else:
            run_half(
                source,
                weight,
                bias,
                target,
                zeros,
                w,
                c,
                w_out,
                first,
                taps_y,
                k_w,
                row_stride,
                stride_w,
                pad_left,
                dilation_w,
                low,
                high,
            )
        if epilogue != 0:
            arguments = offset(scratch, 8 * tid)
            arguments[0] = address_of(target)
            arguments[1] = c
            arguments[2] = line * w_out
            arguments[3] = w_out
            arguments[4] = 0
            arguments[5] = c
            arguments[6] = address_of(chain)
            call_kernel(epilogue, address_of(arguments), 0, 1)
