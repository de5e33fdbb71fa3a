# mypy: ignore-errors
"""Gradients of a depthwise convolution, channels-last: a few vectors of channels at a time.

Filters: for one line of a filter, the outputs whose windows are inside the image are a box of images x lines x pixels.
The sums of its K taps stay in registers during the loop over the box, and each input is read once for all taps. Outputs
whose windows hang over the left or right border, and dilated windows, are computed tap by tap.
Input: a pixel's taps depend on its place in the stride. All pixels of one place in a line have the same few taps, so
their filters stay in registers during the loop over the line. Pixels near the border sum fewer taps.
Filters and their gradients are packed as the forward kernel reads them: (ceil(C / W), K * K, W).
"""

from alula.runtime.kernels.fmath import INF
from alula.runtime.kernels.lang import COMPILING, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.kernels.simd import TILES, Emitter, countdown, dispatch
from alula.runtime.kernels.simd import i64 as index
from alula.runtime.ops.conv.kernel_depthwise import edge_pixel
from alula.runtime.ops.conv.kernel_gradient import end_of_outputs, first_output
from alula.runtime.ops.conv.kernel_outer_tile import move
from alula.runtime.ops.conv.kernel_winograd import copy_run

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    F32, I64 = ir.FloatType(), ir.IntType(64)
    W = TILES.width

LINES = ((1, 1), (3, 1), (3, 2), (5, 1), (5, 2))  # (taps of a line of a filter, stride): their sums are made together
TAPS = 3  # an input's gradient keeps filters of at most TAPS x TAPS taps in registers


def line_sums(width, k, stride, vectors):
    """target[v, tap] (apart: target_apart) = [target +] the sum over a box of x[pixel + tap] * grad_y[pixel], for k taps.

    The intrinsic: (x, x_line, x_image, x_pixel, grad_y, dy_line, dy_image, dy_pixel, apart, pixels, lines, images, target,
    target_apart, fresh). Steps of addresses in bytes; x_pixel from an input to the next; apart: elements between vectors.
    """

    @intrinsic
    def run(
        context, x, x_line, x_image, x_pixel, grad_y, dy_line, dy_image, dy_pixel, apart, pixels, lines, images, target,
        target_apart, fresh,
    ):  # fmt: skip
        def generate(cx, builder, signature, args):
            x, x_line, x_image, x_pixel, grad_y, dy_line, dy_image, dy_pixel, apart, pixels, lines, images, *rest = args
            target, target_apart, fresh = rest
            emit = Emitter(builder, width)
            targets = [target, builder.gep(target, [target_apart])][:vectors]
            sums = [[emit.accumulator() for _ in range(k)] for _ in range(vectors)]
            with builder.if_else(builder.icmp_signed("!=", fresh, index(0))) as (new, old):
                with new:
                    for place in (place for row in sums for place in row):
                        builder.store(emit.constant(0.0), place)
                with old:
                    for v, pointer in enumerate(targets):
                        for tap in range(k):
                            builder.store(emit.load(pointer, tap * width), sums[v][tap])
            columns = [[emit.accumulator() for _ in range(k)] for _ in range(vectors)]

            def read(place, step):
                """The vectors at an address; the address then advances."""
                address = builder.load(place)
                pointer = builder.inttoptr(address, F32.as_pointer())
                found = [emit.load(pointer)]
                if vectors == 2:
                    found.append(emit.load(builder.gep(pointer, [apart])))
                builder.store(builder.add(address, step), place)
                return found

            def read_column(place, c):
                for v, value in enumerate(read(place, x_pixel)):
                    builder.store(value, columns[v][c % k])

            def add_pixel(j, gradients):
                for v, gradient in enumerate(gradients):
                    for tap in range(k):
                        column = builder.load(columns[v][(j * stride + tap) % k])
                        builder.store(emit.fma(column, gradient, builder.load(sums[v][tap])), sums[v][tap])

            image = [cgutils.alloca_once_value(builder, builder.ptrtoint(p, I64)) for p in (x, grad_y)]
            rounds, left = builder.sdiv(pixels, index(k)), builder.srem(pixels, index(k))
            with countdown(builder, images, may_be_none=True):
                line = [cgutils.alloca_once_value(builder, builder.load(p)) for p in image]
                with countdown(builder, lines):
                    at, gradient_at = (cgutils.alloca_once_value(builder, builder.load(p)) for p in line)
                    for c in range(k - stride):  # those that the first window shares with the next
                        read_column(at, c)
                    with countdown(builder, rounds, may_be_none=True):  # of k outputs, so that columns need not move
                        for j in range(k):
                            for c in range(max(k - stride, 0), k):
                                read_column(at, j * stride + c)
                            if stride > k:
                                move(builder, [at], [builder.mul(x_pixel, index(stride - k))])
                            add_pixel(j, read(gradient_at, dy_pixel))
                    if k > stride:  # the remaining outputs read their columns again
                        move(builder, [at], [builder.mul(x_pixel, index(stride - k))])
                    with countdown(builder, left, may_be_none=True):
                        for c in range(k):
                            read_column(at, c)
                        move(builder, [at], [builder.mul(x_pixel, index(stride - k))])
                        add_pixel(0, read(gradient_at, dy_pixel))
                    move(builder, line, (x_line, dy_line))
                move(builder, image, (x_image, dy_image))
            for v, pointer in enumerate(targets):
                for tap in range(k):
                    emit.store(builder.load(sums[v][tap]), pointer, tap * width)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(x, i, i, i, grad_y, i, i, i, i, i, i, i, target, i, i), generate

    return run


def input_run(width, lines, columns):
    """grad_x[p] = the sum over lines x columns taps of grad_y[p + tap] * weight[tap], for a run of pixels.

    The intrinsic: (grad_y, dy_line, dy_column, dy_step, weight, weight_line, weight_column, grad_x, dx_step, pixels), in elements;
    line, column: from a tap to the next; step: from a pixel of the run to the next.
    """

    @intrinsic
    def run(context, grad_y, dy_line, dy_column, dy_step, weight, weight_line, weight_column, grad_x, dx_step, pixels):
        def generate(cx, builder, signature, args):
            grad_y, dy_line, dy_column, dy_step, weight, weight_line, weight_column, grad_x, dx_step, pixels = args
            emit = Emitter(builder, width)
            taps = [((i, dy_line), (j, dy_column)) for i in range(lines) for j in range(columns)]
            factors = [
                emit.load_at(weight, (i, weight_line), (j, weight_column)) for i in range(lines) for j in range(columns)
            ]
            source, target = cgutils.alloca_once_value(builder, grad_y), cgutils.alloca_once_value(builder, grad_x)
            with countdown(builder, pixels):
                total = None
                for factor, tap in zip(factors, taps, strict=True):
                    value = emit.load_at(builder.load(source), *tap)
                    total = builder.fmul(value, factor) if total is None else emit.fma(value, factor, total)
                emit.store(total, builder.load(target))
                builder.store(builder.gep(builder.load(source), [dy_step]), source)
                builder.store(builder.gep(builder.load(target), [dx_step]), target)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(grad_y, i, i, i, weight, i, i, grad_x, i, i), generate

    return run


def _runner(chosen_by, values, variants, name, make):
    """A device function that runs the variant that `variants` (condition -> arguments of the generator) picks."""
    made = {f"{name}{i}": make(*arguments) for i, arguments in enumerate(variants.values())}
    calls = [f"{generated}({values})" for generated in made]
    return dispatch(f"{chosen_by}, {values}", dict(zip(variants, calls, strict=True)), made, then="if")


if COMPILING:
    run_line_sums = _runner(
        "width, k, stride, vectors",
        "x, x_line, x_image, x_pixel, dy, dy_line, dy_image, dy_pixel, apart, pixels, lines, images, target, target_apart, fresh",
        {
            f"width == {width} and k == {k} and stride == {stride} and vectors == {vectors}": (width, k, stride, vectors)
            for width in (W, W // 2) for vectors in (1, 2) for k, stride in LINES
        },
        "sums", line_sums,
    )  # fmt: skip
    run_input = _runner(
        "width, lines_of, columns_of",
        "dy, dy_line, dy_column, dy_step, weight, weight_line, weight_column, dx, dx_step, pixels",
        {
            f"width == {width} and lines_of == {i} and columns_of == {j}": (width, i, j)
            for width in (W, W // 2) for i in range(1, TAPS + 1) for j in range(1, TAPS + 1)
        },
        "run", input_run,
    )  # fmt: skip
    pixel_wide, pixel_half = edge_pixel(W), edge_pixel(W // 2)


@kernel(compact=True)
def f32_depthwise_weight_grad(
    x: f32p, grad_y: f32p, target: f32p, n: i64, h: i64, w: i64, c: i64, h_out: i64, w_out: i64, k_h: i64, k_w: i64,
    stride_h: i64, stride_w: i64, pad_top: i64, pad_left: i64, dilation_h: i64, dilation_w: i64, together: i64,
    block_images: i64, block_lines: i64, accumulate: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """target: packed as filters; c is at least half a vector.

    together             : the taps of a line of a filter go together: (k_w, stride_w) is one of LINES, without dilation
    block_images, _lines : what passes at a time: lines of outputs of one image, or all lines of several
    accumulate           : add to what the target holds
    """
    width = W if c >= W else W // 2
    vectors = (c + width - 1) // width
    pairs = (vectors + 1) // 2
    units = pairs * k_h
    image_blocks = (n + block_images - 1) // block_images
    line_blocks = (h_out + block_lines - 1) // block_lines
    x_line, x_image, x_pixel = 4 * stride_h * w * c, 4 * h * w * c, 4 * c
    dy_line, dy_image = 4 * w_out * c, 4 * h_out * w_out * c
    filters = k_h * k_w * width
    for block in range(image_blocks * line_blocks):
        image = n * (block // line_blocks) // image_blocks
        images = n * (block // line_blocks + 1) // image_blocks - image
        top = h_out * (block % line_blocks) // line_blocks
        bottom = h_out * (block % line_blocks + 1) // line_blocks
        fresh = 1 if block == 0 and accumulate == 0 else 0
        for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
            first, k_y = unit // k_h * 2, unit % k_h
            of = min(2, vectors - first)
            channel = min(first * width, c - width)
            apart = min((first + 1) * width, c - width) - channel
            out = offset(target, first * filters + k_y * k_w * width)
            tap_y = k_y * dilation_h
            line = max(first_output(tap_y, stride_h, pad_top), top)
            lines = min(end_of_outputs(tap_y, stride_h, pad_top, h, h_out), bottom) - line
            source = offset(x, ((image * h + line * stride_h + tap_y - pad_top) * w - pad_left) * c + channel)
            gradient = offset(grad_y, (image * h_out + line) * w_out * c + channel)
            some = images if lines > 0 else 0
            left = first_output(0, stride_w, pad_left)
            right = max(end_of_outputs(k_w - 1, stride_w, pad_left, w, w_out), left) if together != 0 else left
            if together != 0:
                run_line_sums(width, k_w, stride_w, of, offset(source, left * stride_w * c), x_line, x_image, x_pixel,
                              offset(gradient, left * c), dy_line, dy_image, x_pixel, apart, right - left, lines,
                              some if right > left else 0, out, filters, fresh)  # fmt: skip
            for tap in range(k_w):
                begin = first_output(tap * dilation_w, stride_w, pad_left)
                end = end_of_outputs(tap * dilation_w, stride_w, pad_left, w, w_out)
                for side in range(2):
                    from_x = begin if side == 0 else max(right, begin)
                    to_x = min(left, end) if side == 0 else end
                    to_x = max(to_x, from_x)
                    if together == 0:
                        from_x, to_x = begin, max(end, begin)
                    new = fresh if together == 0 and side == 0 else 0
                    if (together != 0 or side == 0) and (new != 0 or to_x > from_x):
                        run_line_sums(width, 1, 1, of, offset(source, (from_x * stride_w + tap * dilation_w) * c),
                                      x_line, x_image, stride_w * x_pixel, offset(gradient, from_x * c), dy_line, dy_image,
                                      x_pixel, apart, to_x - from_x, lines, some if to_x > from_x else 0,
                                      offset(out, tap * width), filters, new)  # fmt: skip


@kernel(compact=True)
def f32_depthwise_input_grad(
    grad_y: f32p, weight: f32p, grad_x: f32p, zeros: f32p, n: i64, h: i64, w: i64, c: i64, h_out: i64, w_out: i64, k_h: i64, k_w: i64,
    stride_h: i64, stride_w: i64, pad_top: i64, pad_left: i64, dilation_h: i64, dilation_w: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """grad_x: (n, h, w, c); c is at least half a vector. A direction has a stride or dilations, not both."""
    width = W if c >= W else W // 2
    vectors = (c + width - 1) // width
    for row in range(n * h * tid // n_threads, n * h * (tid + 1) // n_threads):
        image, y = row // h, row % h + pad_top
        # Input y gets tap k of output o where o * stride + k * dilation = y: taps tap_y, tap_y + stride, ... of outputs
        # out_y, out_y - dilation, ...
        tap_y, out_y = y % stride_h, y // stride_h
        first_y = (max(out_y - h_out + 1, 0) + dilation_h - 1) // dilation_h
        lines = max(min((k_h - tap_y + stride_h - 1) // stride_h, out_y // dilation_h + 1) - first_y, 0)
        of_line = offset(grad_y, (image * h_out + out_y - first_y * dilation_h) * w_out * c)
        dy_line, dy_column = -dilation_h * w_out * c, -dilation_w * c
        for v in range(vectors):
            at = min(v * width, c - width)
            filters = offset(weight, (v * k_h * k_w + (tap_y + first_y * stride_h) * k_w) * width)
            for phase in range(min(stride_w, w)):
                tap_x, base = (phase + pad_left) % stride_w, (phase + pad_left) // stride_w
                columns = max((k_w - tap_x + stride_w - 1) // stride_w, 0)
                count = (w - phase + stride_w - 1) // stride_w
                fast = lines > 0 and lines <= 3 and columns > 0 and columns <= 3
                begin = min(max((columns - 1) * dilation_w - base, 0), count) if fast else count
                end = max(min(count, w_out - base), begin) if fast else count
                target = offset(grad_x, (row * w + phase) * c + at)
                factors = offset(filters, tap_x * width)
                if end > begin:
                    run_input(width, lines, columns, offset(of_line, (base + begin) * c + at), dy_line, dy_column, c,
                              factors, stride_h * k_w * width, stride_w * width, offset(target, begin * stride_w * c),
                              stride_w * c, end - begin)  # fmt: skip
                for i in range(begin + count - end):
                    m = i if i < begin else end + i - begin
                    out_x = base + m
                    first_x = (max(out_x - w_out + 1, 0) + dilation_w - 1) // dilation_w
                    some = max(min(columns, out_x // dilation_w + 1) - first_x, 0)
                    pixel = offset(of_line, (out_x - first_x * dilation_w) * c + at)
                    weights = offset(factors, first_x * stride_w * width)
                    place = offset(target, m * stride_w * c)
                    if c >= W:
                        pixel_wide(pixel, dy_line, dy_column, lines, some, weights, stride_h * k_w * W, stride_w * W,
                                   zeros, place, -INF, INF)  # fmt: skip
                    else:
                        pixel_half(pixel, dy_line, dy_column, lines, some, weights, stride_h * k_w * (W // 2),
                                   stride_w * (W // 2), zeros, place, -INF, INF)  # fmt: skip


@kernel(compact=True)
def f32_transpose_taps(source: f32p, target: f32p, vectors: i64, taps: i64, width: i64, tid: i64, n_threads: i64):
    """Filters (vectors, taps, width) with their taps in the opposite order."""
    for vector in range(vectors * tid // n_threads, vectors * (tid + 1) // n_threads):
        at = vector * taps * width
        for tap in range(taps):
            line, out = offset(source, at + (taps - 1 - tap) * width), offset(target, at + tap * width)
            if width < W:
                for i in range(width):
                    out[i] = line[i]
            else:
                copy_run(line, out, width)
