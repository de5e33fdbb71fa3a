# mypy: ignore-errors
"""Maximum and mean of sliding windows over channels-last images.

A few vectors of channels stay in registers during the loop over a window; taps outside the image are cut off first.
"""

from alula.runtime.kernels.fmath import INF, F
from alula.runtime.kernels.lang import COMPILING, device, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.kernels.simd import TILES, Emitter, countdown

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    W = TILES.width
    NARROW = 4  # lanes where there are fewer channels than W
UNROLL = 4  # vectors that run through a window together


def pool_pixel(vectors, width, largest):
    """One output pixel x `vectors` vectors: the largest or the sum over taps_y x taps_x inputs, times a scale.

    The intrinsic: (x, row_stride, tap_stride, taps_y, taps_x, y, scale). NaN in a window comes out as NaN.
    """

    @intrinsic
    def pixel(context, x, row_stride, tap_stride, taps_y, taps_x, y, scale):
        def generate(cx, builder, signature, args):
            x, row_stride, tap_stride, taps_y, taps_x, y, scale = args
            emit = Emitter(builder, width)
            kind = ir.FunctionType(emit.vector, [emit.vector] * 2)
            maximum = cgutils.get_or_insert_function(builder.module, kind, f"llvm.maximum.v{width}f32")
            places = [emit.accumulator() for _ in range(vectors)]
            for place in places:
                builder.store(emit.constant(float("-inf") if largest else 0.0), place)
            zero = ir.Constant(ir.IntType(64), 0)
            some = builder.and_(*(builder.icmp_signed(">", taps, zero) for taps in (taps_y, taps_x)))
            with builder.if_then(some):
                line = cgutils.alloca_once_value(builder, x)
                with countdown(builder, taps_y):
                    tap = cgutils.alloca_once_value(builder, builder.load(line))
                    with countdown(builder, taps_x):
                        at = builder.load(tap)
                        for v, place in enumerate(places):
                            value, before = emit.load(at, v * width), builder.load(place)
                            if largest:
                                builder.store(builder.call(maximum, [before, value], fastmath=("nsz",)), place)
                            else:
                                builder.store(emit.add(before, value), place)
                        builder.store(builder.gep(at, [tap_stride]), tap)
                    builder.store(builder.gep(builder.load(line), [row_stride]), line)
            factor = emit.splat(scale)
            for v, place in enumerate(places):
                value = builder.load(place)
                emit.store(value if largest else builder.fmul(value, factor), y, v * width)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(x, i, i, i, i, y, types.float32), generate

    return pixel


def channel_runner(width, largest):
    """A device function that computes all channels, at least `width`, of one output pixel."""
    if not COMPILING:
        return None
    several, two, single = (pool_pixel(n, width, largest) for n in (UNROLL, 2, 1))

    def run(x, row_stride, tap_stride, taps_y, taps_x, y, scale, c):
        blocks = c // (UNROLL * width)
        for b in range(blocks):
            at = b * UNROLL * width
            several(offset(x, at), row_stride, tap_stride, taps_y, taps_x, offset(y, at), scale)
        done = blocks * UNROLL * width
        if largest and c - done >= 2 * width:  # a mean, which is rare, costs two single ones
            two(offset(x, done), row_stride, tap_stride, taps_y, taps_x, offset(y, done), scale)
            done += 2 * width
        for v in range((c - done + width - 1) // width):
            at = min(done + v * width, c - width)  # the last vector may overlap the one before it
            single(offset(x, at), row_stride, tap_stride, taps_y, taps_x, offset(y, at), scale)

    return device(run)


@device
def pool_few(x, row_stride, tap_stride, taps_y, taps_x, y, scale, c, largest):
    """All channels of one output pixel, one by one."""
    for i in range(c):
        result = -INF if largest else F(0.0)
        for tap_y in range(taps_y):
            for tap_x in range(taps_x):
                value = x[tap_y * row_stride + tap_x * tap_stride + i]
                if largest:
                    result = result if (result != result) or (result > value) else value
                else:
                    result += value
        y[i] = result if largest else result * scale


if COMPILING:
    max_wide, max_narrow = channel_runner(W, True), channel_runner(NARROW, True)
    mean_wide, mean_narrow = channel_runner(W, False), channel_runner(NARROW, False)


@device
def taps_inside(start, size, k, dilation):
    """Of a window of k taps that begins at `start`: the first tap that lies in the image, and how many do."""
    if start >= 0 and start + (k - 1) * dilation < size:
        return 0, k
    first = (-start + dilation - 1) // dilation if start < 0 else 0
    last = min(k, (size - start + dilation - 1) // dilation) if start < size else 0
    return first, max(last - first, 0)


@kernel
def f32_pool(
    x: f32p, y: f32p, counts_y: f32p, counts_x: f32p, largest: i64, n: i64, h: i64, w: i64, c: i64, h_out: i64, w_out: i64,
    k_h: i64, k_w: i64, stride_h: i64, stride_w: i64, pad_top: i64, pad_left: i64, dilation_h: i64, dilation_w: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """y: (n, h_out, w_out, c), the largest pixel of each window, or its sum / (counts_y[row] * counts_x[column])."""
    pixels = n * h_out * w_out
    begin, end = pixels * tid // n_threads, pixels * (tid + 1) // n_threads
    line, out_x = begin // w_out, begin % w_out
    row_stride, tap_stride = dilation_h * w * c, dilation_w * c
    pixel = begin
    while pixel < end:  # a line, or what this thread has of it
        image, out_y = line // h_out, line % h_out
        top = out_y * stride_h - pad_top
        first_y, taps_y = taps_inside(top, h, k_h, dilation_h)
        row = offset(x, (image * h + top + first_y * dilation_h) * w * c)
        for place in range(out_x, min(w_out, out_x + end - pixel)):
            left = place * stride_w - pad_left
            first_x, taps_x = taps_inside(left, w, k_w, dilation_w)
            source, target = offset(row, (left + first_x * dilation_w) * c), offset(y, pixel * c)
            scale = F(1.0) if largest != 0 else F(1.0) / (counts_y[out_y] * counts_x[place])
            if c < NARROW:
                pool_few(source, row_stride, tap_stride, taps_y, taps_x, target, scale, c, largest != 0)
            elif largest != 0:
                if c >= W:
                    max_wide(source, row_stride, tap_stride, taps_y, taps_x, target, scale, c)
                else:
                    max_narrow(source, row_stride, tap_stride, taps_y, taps_x, target, scale, c)
            elif c >= W:
                mean_wide(source, row_stride, tap_stride, taps_y, taps_x, target, scale, c)
            else:
                mean_narrow(source, row_stride, tap_stride, taps_y, taps_x, target, scale, c)
            pixel += 1
        out_x = 0
        line += 1
