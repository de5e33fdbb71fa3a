# mypy: ignore-errors
"""Batch normalisation in training: statistics of the batch, and the normalised batch.

Sums over rows stay in registers, a few vectors of channels at a time. The strips of rows do not depend on the number of
threads and are joined in order. A strip's variance is computed relative to the mean of its first rows, so a strip of n
rows loses at most a factor of 1 + n / HEAD of float32's precision, however large the mean. Means are joined as
differences too (by the rule of Chan, Golub and LeVeque). Tensors are matrices of (rows, channels).
"""

from alula.runtime.kernels.columns import COLUMNS, RUN, Rows, adders, by_columns
from alula.runtime.kernels.fmath import F, sqrt
from alula.runtime.kernels.lang import COMPILING, device, f32, f32p, i64, i64p, intrinsic, kernel, words
from alula.runtime.kernels.memory import address_of, call_kernel, offset
from alula.runtime.ops.reduce.kernel import vec_fill

if COMPILING:
    from numba.core import cgutils, types

HEAD = 8  # rows whose mean the variance of a strip is measured from
BLOCK, BLOCK_ROWS = (
    2048,
    8,
)  # elements of a block of rows that stays in the first-level cache, and the fewest rows of it


def moments_tile(vectors, width):
    """Over rows: a start (the mean of the first ones), the distance of the mean from it, the sum of squares about the mean.

    The intrinsic: (at, x, stride, rows, head, 1 / head, 1 / rows, start, distance, squares)
    """

    @intrinsic
    def tile(context, at, x, stride, rows, head, head_share, share, origin, distance, squares):
        def generate(cx, builder, signature, args):
            at, x, stride, rows, head, head_share, share, origin, distance, squares = args
            piece = Rows(builder, vectors, width, at)
            emit = piece.emit
            (start,) = piece.sums(head, 1, lambda row: [adders(builder, piece.load(x, row, stride))])
            start = [builder.fmul(value, emit.splat(head_share)) for value in start]

            def terms(row):
                apart = piece.map(builder.fsub, piece.load(x, row, stride), start)
                return adders(builder, apart), [lambda total, d=d: emit.fma(d, d, total) for d in apart]

            distances, spread = piece.sums(rows, 2, terms)
            shares = [builder.fmul(value, emit.splat(share)) for value in distances]
            zero = emit.constant(0.0)
            about = [emit.fma(builder.fneg(s), d, q) for s, d, q in zip(shares, distances, spread, strict=True)]
            about = [builder.select(builder.fcmp_ordered("<", q, zero), zero, q) for q in about]
            for values, target in ((start, origin), (shares, distance), (about, squares)):
                piece.store(values, target)
            return cx.get_dummy_value()

        i, f = types.int64, types.float32
        return types.void(i, x, i, i, i, f, f, origin, distance, squares), generate

    return tile


def apply_tile(residual, clamp):
    """A maker of tiles: y = (x - mean) * gain + bias over rows, plus another matrix, then clamped.

    The intrinsic: (at, x, other, y, stride, rows, mean, gain, bias, low, high)
    """

    def make(vectors, width):
        @intrinsic
        def tile(context, at, x, other, y, stride, rows, mean, gain, bias, low, high):
            def generate(cx, builder, signature, args):
                at, x, other, y, stride, rows, mean, gain, bias, low, high = args
                piece = Rows(builder, vectors, width, at)
                emit = piece.emit
                means, gains, biases = piece.load(mean), piece.load(gain), piece.load(bias)
                bounds = emit.splat(low), emit.splat(high)
                with cgutils.for_range(builder, rows) as loop:
                    apart = piece.map(builder.fsub, piece.load(x, loop.index, stride), means)
                    values = piece.map(emit.fma, apart, gains, biases)
                    if residual:
                        values = piece.map(builder.fadd, values, piece.load(other, loop.index, stride))
                    if clamp:
                        values = [piece.bounded(value, *bounds) for value in values]
                    piece.store(values, y, loop.index, stride)
                return cx.get_dummy_value()

            i, f = types.int64, types.float32
            return types.void(i, x, other, y, i, i, mean, gain, bias, f, f), generate

        return tile

    return make


moments_of = by_columns(moments_tile, "x, stride, rows, head, head_share, share, origin, distance, squares")
APPLY = "x, other, y, stride, rows, mean, gain, bias, low, high"
normalise = by_columns(apply_tile(residual=False, clamp=False), APPLY)
normalise_clamp = by_columns(apply_tile(residual=False, clamp=True), APPLY)
normalise_add_clamp = by_columns(apply_tile(residual=True, clamp=True), APPLY)


@device
def columns_of(c):
    """Channels of a unit of work."""
    return RUN if c > COLUMNS else COLUMNS


@device
def rows_together(c, rows):
    """How many rows of a block tiles pass over: one where it is read in one run."""
    return 1 if RUN > COLUMNS and c > COLUMNS else rows


@device
def vec_add(x, y, n):
    """y += x."""
    for i in range(n):
        y[i] += x[i]


@device
def vec_scale(x, factor, n):
    """x *= factor."""
    for i in range(n):
        x[i] = x[i] * factor


@device
def vec_add_moments(x, start, distance, squares, n):
    """Add a row's distances from a start, and their squares."""
    for i in range(n):
        d = x[i] - start[i]
        distance[i] += d
        squares[i] += d * d


@device
def vec_finish_moments(distance, squares, share, n):
    """The distance of the mean, and the sum of squares about it."""
    for i in range(n):
        d = distance[i] * share
        q = squares[i] - d * distance[i]
        distance[i] = d
        squares[i] = F(0.0) if q < F(0.0) else q


@device
def moments_by_rows(x, c, n, rows, head, start, distance, squares):
    """What `moments_tile` does for n channels, a whole row at a time."""
    vec_fill(start, n, F(0.0))
    vec_fill(distance, n, F(0.0))
    vec_fill(squares, n, F(0.0))
    for row in range(head):
        vec_add(offset(x, row * c), start, n)
    vec_scale(start, F(1.0) / F(head), n)
    for row in range(rows):
        vec_add_moments(offset(x, row * c), start, distance, squares, n)
    vec_finish_moments(distance, squares, F(1.0) / F(rows), n)


@kernel(compact=True)
def f32_batch_moments(x: f32p, moments: f32p, rows: i64, c: i64, strips: i64, tid: i64, n_threads: i64):
    """Statistics of each channel in each strip of rows. moments: (strips, 3, c), what `moments_tile` gives.

    Strip s is rows [rows * s // strips, rows * (s + 1) // strips).
    """
    columns = columns_of(c)
    blocks = (c + columns - 1) // columns
    units = strips * blocks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        strip, at = unit // blocks, unit % blocks * columns
        first = rows * strip // strips
        count = rows * (strip + 1) // strips - first
        head = min(HEAD, count)
        start = offset(moments, 3 * strip * c)
        end, source = min(at + columns, c), offset(x, first * c)
        if columns > COLUMNS:
            start = offset(start, at)
            moments_by_rows(
                offset(source, at), c, end - at, count, head, start, offset(start, c), offset(start, 2 * c)
            )  # fmt: skip
        else:
            moments_of(
                at, end, source, c, count, head, F(1.0) / F(head), F(1.0) / F(count), start, offset(start, c),
                offset(start, 2 * c),
            )  # fmt: skip


@device
def vec_join(mean, squares, origin, strip_start, strip_distance, strip_squares, n, weight, before):
    """Join one more strip to the rows before it; means are distances from `origin`. weight: its share of all rows."""
    for i in range(n):
        difference = (strip_start[i] - origin[i]) + strip_distance[i] - mean[i]
        share = difference * weight
        squares[i] += strip_squares[i] + difference * share * before
        mean[i] += share


@device
def vec_add_origin(mean, origin, n):
    """mean += origin."""
    for i in range(n):
        mean[i] += origin[i]


@device
def vec_batch_statistics(squares, scale, inverse, gain, n, share, epsilon):
    """1 / sqrt(variance + epsilon) and gain = scale times that; `share` is 1 / rows."""
    for i in range(n):
        one = F(1.0) / sqrt(squares[i] * share + epsilon)
        inverse[i] = one
        gain[i] = one * scale[i]


@device
def vec_multiply(a, b, product, n):
    """product = a * b."""
    for i in range(n):
        product[i] = a[i] * b[i]


@device
def vec_keep_running(old, now, new, n, momentum, gain):
    """new = old * momentum + now * gain; new may be old."""
    for i in range(n):
        new[i] = old[i] * momentum + now[i] * gain


@kernel(compact=True)
def f32_batch_statistics(
    moments: f32p, scale: f32p, running_mean: f32p, running_var: f32p, new_mean: f32p, new_var: f32p, mean: f32p,
    inverse: f32p, gain: f32p, squares: f32p, rows: i64, c: i64, strips: i64, epsilon: f32, momentum: f32,
    mean_gain: f32, squares_gain: f32, tid: i64, n_threads: i64,
):  # fmt: skip
    """Statistics of the batch from those of its strips, and the running ones; new ones may lie where the old ones do.

    mean_gain, squares_gain : what the running statistics take of the batch's mean and of its sum of squares
    """
    begin = c * tid // n_threads
    n = c * (tid + 1) // n_threads - begin
    own_mean, own_squares, origin = offset(mean, begin), offset(squares, begin), offset(moments, begin)
    vec_fill(own_mean, n, F(0.0))
    vec_fill(own_squares, n, F(0.0))
    for strip in range(strips):
        before, after = rows * strip // strips, rows * (strip + 1) // strips
        part = offset(moments, 3 * strip * c + begin)
        weight = F(after - before) / F(after)
        vec_join(own_mean, own_squares, origin, part, offset(part, c), offset(part, 2 * c), n, weight, F(before))
    vec_add_origin(own_mean, origin, n)
    vec_keep_running(offset(running_mean, begin), own_mean, offset(new_mean, begin), n, momentum, mean_gain)
    vec_keep_running(offset(running_var, begin), own_squares, offset(new_var, begin), n, momentum, squares_gain)
    vec_batch_statistics(
        own_squares, offset(scale, begin), offset(inverse, begin), offset(gain, begin), n, F(1.0) / F(rows), epsilon
    )


@kernel(compact=True)
def f32_batch_gain(
    var: f32p, scale: f32p, inverse: f32p, gain: f32p, c: i64, epsilon: f32, inverted: i64, tid: i64, n_threads: i64
):
    """1 / sqrt(variance + epsilon), and scale times that, of statistics that are given.

    inverted : `var` is that inverse already
    """
    begin = c * tid // n_threads
    n = c * (tid + 1) // n_threads - begin
    given, factor, target = offset(var, begin), offset(scale, begin), offset(gain, begin)
    if inverted != 0:
        vec_multiply(given, factor, target, n)
    else:
        vec_batch_statistics(given, factor, offset(inverse, begin), target, n, F(1.0), epsilon)


@kernel(compact=True)
def f32_batch_apply(
    x: f32p, other: f32p, y: f32p, mean: f32p, gain: f32p, bias: f32p, scratch: i64p, rows: i64, c: i64,
    residual: i64, clamp: i64, low: f32, high: f32, epilogue: i64, epilogue_stages: words, tid: i64, n_threads: i64,
):  # fmt: skip
    """y = (x - mean) * gain + bias, plus `other` if residual, clamped; then the epilogue (its kernel's address, or 0).

    scratch : 8 words a thread
    """
    block = max(BLOCK // c, BLOCK_ROWS)
    words_at = offset(scratch, 8 * tid)
    blocks = (rows + block - 1) // block
    for b in range(blocks * tid // n_threads, blocks * (tid + 1) // n_threads):
        row = b * block
        count = min(block, rows - row)
        target = offset(y, row * c)
        together = rows_together(c, count)
        for group in range((count + together - 1) // together):
            at, n = (row + group * together) * c, min(together, count - group * together)
            source, place = offset(x, at), offset(y, at)
            if residual != 0:
                normalise_add_clamp(0, c, source, offset(other, at), place, c, n, mean, gain, bias, low, high)
            elif clamp != 0:
                normalise_clamp(0, c, source, source, place, c, n, mean, gain, bias, low, high)
            else:
                normalise(0, c, source, source, place, c, n, mean, gain, bias, low, high)
        if epilogue != 0:
            words_at[0] = address_of(target)
            words_at[1] = c
            words_at[2] = row
            words_at[3] = count
            words_at[4] = 0
            words_at[5] = c
            words_at[6] = address_of(epilogue_stages)
            call_kernel(epilogue, address_of(words_at), 0, 1)
