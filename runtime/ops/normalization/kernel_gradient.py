# mypy: ignore-errors
"""The gradient of batch normalisation in training, with the clamp after it if there was one.

Sums run over strips of rows, as in kernel_batch_norm.py. Tensors are matrices of (rows, channels).
"""

from alula.runtime.kernels.columns import COLUMNS, Rows, adders, by_columns
from alula.runtime.kernels.fmath import F
from alula.runtime.kernels.lang import COMPILING, device, f32, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.ops.normalization.kernel_batch_norm import BLOCK, BLOCK_ROWS, columns_of, rows_together, vec_add
from alula.runtime.ops.reduce.kernel import vec_fill

if COMPILING:
    from numba.core import cgutils, types


def within(piece, apart, slopes, gains, biases, bounds):
    """The slopes where the normalised values lie between the bounds, else zero."""
    builder, zero = piece.builder, piece.emit.constant(0.0)
    kept = []
    for value, slope in zip(piece.map(piece.emit.fma, apart, gains, biases), slopes, strict=True):
        above = builder.fcmp_ordered(">", value, bounds[0])
        below = builder.fcmp_ordered("<", value, bounds[1])
        kept.append(builder.select(builder.and_(above, below), slope, zero))
    return kept


def grad_sums_tile(clamped):
    """A maker of tiles: sums of grad_y, and of grad_y * (x - mean), over rows; grad_y only where the clamp let pass.

    The intrinsic: (at, grad_y, x, stride, rows, mean, gain, bias, low, high, plain, moment)
    """

    def make(vectors, width):
        @intrinsic
        def tile(context, at, grad_y, x, stride, rows, mean, gain, bias, low, high, plain, moment):
            def generate(cx, builder, signature, args):
                at, grad_y, x, stride, rows, mean, gain, bias, low, high, plain, moment = args
                piece = Rows(builder, vectors, width, at)
                emit = piece.emit
                means, bounds = piece.load(mean), (emit.splat(low), emit.splat(high))
                gains, biases = (piece.load(gain), piece.load(bias)) if clamped else ([], [])

                def terms(row):
                    slopes = piece.load(grad_y, row, stride)
                    apart = piece.map(builder.fsub, piece.load(x, row, stride), means)
                    if clamped:
                        slopes = within(piece, apart, slopes, gains, biases, bounds)
                    pairs = zip(slopes, apart, strict=True)
                    return adders(builder, slopes), [lambda total, g=g, d=d: emit.fma(g, d, total) for g, d in pairs]

                for totals, target in zip(piece.sums(rows, 2, terms), (plain, moment), strict=True):
                    piece.store(totals, target)
                return cx.get_dummy_value()

            i, f = types.int64, types.float32
            return types.void(i, grad_y, x, i, i, mean, gain, bias, f, f, plain, moment), generate

        return tile

    return make


def grad_apply_tile(clamped):
    """A maker of tiles: grad_x = grad_y * gain + (x - mean) * slope + shift over rows, grad_y only where the clamp let pass.

    The intrinsic: (at, grad_y, x, grad_x, stride, rows, mean, gain, slope, shift, bias, low, high); grad_x may be grad_y
    """

    def make(vectors, width):
        @intrinsic
        def tile(context, at, grad_y, x, grad_x, stride, rows, mean, gain, slope, shift, bias, low, high):
            def generate(cx, builder, signature, args):
                at, grad_y, x, grad_x, stride, rows, mean, gain, slope, shift, bias, low, high = args
                piece = Rows(builder, vectors, width, at)
                emit = piece.emit
                means, gains, slopes, shifts = (piece.load(p) for p in (mean, gain, slope, shift))
                biases = piece.load(bias) if clamped else []
                bounds = emit.splat(low), emit.splat(high)
                with cgutils.for_range(builder, rows) as loop:
                    apart = piece.map(builder.fsub, piece.load(x, loop.index, stride), means)
                    values = piece.load(grad_y, loop.index, stride)
                    if clamped:
                        values = within(piece, apart, values, gains, biases, bounds)
                    values = piece.map(emit.fma, values, gains, shifts)
                    piece.store(piece.map(emit.fma, apart, slopes, values), grad_x, loop.index, stride)
                return cx.get_dummy_value()

            i, f = types.int64, types.float32
            return types.void(i, grad_y, x, grad_x, i, i, mean, gain, slope, shift, bias, f, f), generate

        return tile

    return make


SUMS = "dy, x, stride, rows, mean, gain, bias, low, high, plain, moment"
grad_sums_of = by_columns(grad_sums_tile(clamped=False), SUMS)
grad_sums_of_clamped = by_columns(grad_sums_tile(clamped=True), SUMS)
GRAD_APPLY = "dy, x, dx, stride, rows, mean, gain, slope, shift, bias, low, high"
grad_apply = by_columns(grad_apply_tile(clamped=False), GRAD_APPLY)
grad_apply_clamped = by_columns(grad_apply_tile(clamped=True), GRAD_APPLY)


@device
def vec_add_products(grad_y, x, mean, plain, moment, n):
    """Add a row's grad_y, and grad_y * (x - mean)."""
    for i in range(n):
        plain[i] += grad_y[i]
        moment[i] += grad_y[i] * (x[i] - mean[i])


@device
def vec_add_clamped_products(grad_y, x, mean, gain, bias, plain, moment, n, low, high):
    """Add a row's grad_y, and grad_y * (x - mean), where the clamp let pass."""
    for i in range(n):
        apart = x[i] - mean[i]
        value = apart * gain[i] + bias[i]
        slope = grad_y[i] if low < value < high else F(0.0)
        plain[i] += slope
        moment[i] += slope * apart


@kernel(compact=True)
def f32_batch_grad_sums(
    grad_y: f32p, x: f32p, mean: f32p, gain: f32p, bias: f32p, sums: f32p, rows: i64, c: i64, strips: i64, clamp: i64,
    low: f32, high: f32, tid: i64, n_threads: i64,
):  # fmt: skip
    """Sums of grad_y and of grad_y * (x - mean) in each strip of rows. sums: (strips, 2, c).

    clamp : grad_y counts only where low < (x - mean) * gain + bias < high
    """
    columns = columns_of(c)
    blocks = (c + columns - 1) // columns
    units = strips * blocks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        strip, at = unit // blocks, unit % blocks * columns
        first = rows * strip // strips
        count = rows * (strip + 1) // strips - first
        plain = offset(sums, 2 * strip * c)
        here = first * c
        end = min(at + columns, c)
        if columns > COLUMNS:
            n = end - at
            total, moment = offset(plain, at), offset(plain, c + at)
            vec_fill(total, n, F(0.0))
            vec_fill(moment, n, F(0.0))
            for row in range(count):
                place = here + row * c + at
                slopes, values, means = offset(grad_y, place), offset(x, place), offset(mean, at)
                if clamp != 0:
                    gains, biases = offset(gain, at), offset(bias, at)
                    vec_add_clamped_products(slopes, values, means, gains, biases, total, moment, n, low, high)
                else:
                    vec_add_products(slopes, values, means, total, moment, n)
        else:
            slopes, values, moment = offset(grad_y, here), offset(x, here), offset(plain, c)
            if clamp != 0:
                grad_sums_of_clamped(at, end, slopes, values, c, count, mean, gain, bias, low, high, plain, moment)
            else:
                grad_sums_of(at, end, slopes, values, c, count, mean, gain, bias, low, high, plain, moment)


@device
def vec_grad_factors(grad_scale, grad_bias, scale, inverse, gain, slope, shift, n, share):
    """grad_scale from the sum of grad_y * (x - mean), and the factors of grad_x = grad_y * gain + (x - mean) * slope + shift."""
    for i in range(n):
        one = inverse[i]
        total = grad_scale[i] * one
        grad_scale[i] = total
        factor = scale[i] * one
        gain[i] = factor
        slope[i] = -factor * one * total * share
        shift[i] = -factor * grad_bias[i] * share


@kernel(compact=True)
def f32_batch_grad_join(
    sums: f32p, scale: f32p, inverse: f32p, grad_scale: f32p, grad_bias: f32p, factors: f32p, rows: i64, c: i64, strips: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """grad_scale and grad_bias from the sums of the strips; factors (3, c) of grad_x: gain, slope, shift."""
    begin = c * tid // n_threads
    n = c * (tid + 1) // n_threads - begin
    own_scale, own_bias = offset(grad_scale, begin), offset(grad_bias, begin)
    vec_fill(own_scale, n, F(0.0))
    vec_fill(own_bias, n, F(0.0))
    for strip in range(strips):
        part = offset(sums, 2 * strip * c + begin)
        vec_add(part, own_bias, n)
        vec_add(offset(part, c), own_scale, n)
    gain = offset(factors, begin)
    vec_grad_factors(
        own_scale, own_bias, offset(scale, begin), offset(inverse, begin), gain, offset(gain, c), offset(gain, 2 * c), n,
        F(1.0) / F(rows),
    )  # fmt: skip


@kernel(compact=True)
def f32_batch_grad_apply(
    grad_y: f32p, x: f32p, mean: f32p, bias: f32p, factors: f32p, grad_x: f32p, rows: i64, c: i64, clamp: i64, low: f32, high: f32,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """grad_x = grad_y * gain + (x - mean) * slope + shift, by channel; grad_x may be grad_y. clamp: as `f32_batch_grad_sums` has it."""
    block = max(BLOCK // c, BLOCK_ROWS)
    blocks = (rows + block - 1) // block
    slope, shift = offset(factors, c), offset(factors, 2 * c)
    for b in range(blocks * tid // n_threads, blocks * (tid + 1) // n_threads):
        count = min(block, rows - b * block)
        together = rows_together(c, count)
        for group in range((count + together - 1) // together):
            at, n = (b * block + group * together) * c, min(together, count - group * together)
            slopes, values, target = offset(grad_y, at), offset(x, at), offset(grad_x, at)
            if clamp != 0:
                grad_apply_clamped(0, c, slopes, values, target, c, n, mean, factors, slope, shift, bias, low, high)
            else:
                grad_apply(0, c, slopes, values, target, c, n, mean, factors, slope, shift, bias, low, high)
