# mypy: ignore-errors
"""Sums, means, maxima and minima over one axis of (outer, n, inner); softmax and layer normalisation over rows."""

from alula.runtime.kernels.columns import COLUMNS, Rows, adders, by_columns
from alula.runtime.kernels.fmath import INF, F, absolute, exp, largest, log, smallest, sqrt
from alula.runtime.kernels.lang import COMPILING, REASSOCIATE, device, f32, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import offset

if COMPILING:
    from numba.core import types

SUM, MAX, MIN, SUM_ABS, SUM_SQUARES, PRODUCT = range(6)
BLOCK = 256  # columns whose running results stay in the first-level cache


@device(fastmath=REASSOCIATE)
def vec_sum(x, n):
    """Sum of n elements."""
    total = F(0.0)
    for i in range(n):
        total += x[i]
    return total


@device(fastmath=REASSOCIATE)
def vec_sum_abs(x, n):
    """Sum of n absolute values."""
    total = F(0.0)
    for i in range(n):
        total += absolute(x[i])
    return total


@device(fastmath=REASSOCIATE)
def vec_sum_squares(x, shift, n):
    """Sum of (x - shift) ** 2."""
    total = F(0.0)
    for i in range(n):
        d = x[i] - shift
        total += d * d
    return total


@device
def vec_max(x, n):
    """Largest of n elements; NaN if one is NaN."""
    best = -INF
    for i in range(n):
        best = largest(best, x[i])
    return best


@device
def vec_min(x, n):
    """Smallest of n elements; NaN if one is NaN."""
    best = INF
    for i in range(n):
        best = smallest(best, x[i])
    return best


@device(fastmath=REASSOCIATE)
def vec_product(x, n):
    """Product of n elements."""
    total = F(1.0)
    for i in range(n):
        total *= x[i]
    return total


@device
def reduce_run(code, x, n):
    """One result of n elements side by side."""
    if code == SUM:
        return vec_sum(x, n)
    if code == MAX:
        return vec_max(x, n)
    if code == MIN:
        return vec_min(x, n)
    if code == SUM_ABS:
        return vec_sum_abs(x, n)
    if code == SUM_SQUARES:
        return vec_sum_squares(x, F(0.0), n)
    return vec_product(x, n)


def sum_tile(vectors, width):
    """Sums over rows. The intrinsic: (at, x, stride, rows, y)."""

    @intrinsic
    def tile(context, at, x, stride, rows, y):
        def generate(cx, builder, signature, args):
            at, x, stride, rows, y = args
            piece = Rows(builder, vectors, width, at)
            (totals,) = piece.sums(rows, 1, lambda row: [adders(builder, piece.load(x, row, stride))])
            piece.store(totals, y)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(i, x, i, i, y), generate

    return tile


column_sums = by_columns(sum_tile, "x, stride, rows, y")


@kernel
def f32_strip_sums(x: f32p, sums: f32p, rows: i64, c: i64, strips: i64, tid: i64, n_threads: i64):
    """Sums of the columns of each strip of rows [rows * s // strips, rows * (s + 1) // strips). sums: (strips, c)."""
    blocks = (c + COLUMNS - 1) // COLUMNS
    units = strips * blocks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        strip, at = unit // blocks, unit % blocks * COLUMNS
        first = rows * strip // strips
        count = rows * (strip + 1) // strips - first
        column_sums(at, min(at + COLUMNS, c), offset(x, first * c), c, count, offset(sums, strip * c))


@device
def vec_accumulate(code, x, y, n):
    """Fold a row of n elements into n running results; sums have tiles of their own."""
    if code == MAX:
        for i in range(n):
            y[i] = y[i] if (y[i] != y[i]) or (y[i] > x[i]) else x[i]
    elif code == MIN:
        for i in range(n):
            y[i] = y[i] if (y[i] != y[i]) or (y[i] < x[i]) else x[i]
    elif code == SUM_ABS:
        for i in range(n):
            y[i] += absolute(x[i])
    elif code == SUM_SQUARES:
        for i in range(n):
            y[i] += x[i] * x[i]
    else:
        for i in range(n):
            y[i] *= x[i]


@device
def vec_finish(y, n, scale, root):
    """Scale n results; then their square root, if asked for."""
    for i in range(n):
        y[i] = y[i] * scale
    if root != 0:
        for i in range(n):
            y[i] = sqrt(y[i])


@device
def vec_fill(y, n, value):
    """Set n elements."""
    for i in range(n):
        y[i] = value


@kernel
def f32_reduce(
    x: f32p,
    y: f32p,
    outer: i64,
    n: i64,
    inner: i64,
    code: i64,
    start: f32,
    scale: f32,
    root: i64,
    tid: i64,
    n_threads: i64,
):
    """y[o, i] = root(scale * fold of x[o, :, i]); `start` is the fold of nothing."""
    if inner == 1:
        for o in range(outer * tid // n_threads, outer * (tid + 1) // n_threads):
            y[o] = reduce_run(code, offset(x, o * n), n)
            vec_finish(offset(y, o), 1, scale, root)
    else:
        blocks = (inner + BLOCK - 1) // BLOCK
        units = outer * blocks
        for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
            o, column = unit // blocks, unit % blocks * BLOCK
            columns = min(BLOCK, inner - column)
            target = offset(y, o * inner + column)
            if code == SUM:
                column_sums(0, columns, offset(x, o * n * inner + column), inner, n, target)
            else:
                vec_fill(target, columns, start)
                for j in range(n):
                    vec_accumulate(code, offset(x, (o * n + j) * inner + column), target, columns)
            vec_finish(target, columns, scale, root)


@device(fastmath=REASSOCIATE)
def vec_exp(x, y, shift, n):
    """y = exp(x - shift); the sum of y."""
    total = F(0.0)
    for i in range(n):
        e = exp(x[i] - shift)
        y[i] = e
        total += e
    return total


@device(fastmath=REASSOCIATE)
def vec_sum_exp(x, shift, n):
    """Sum of exp(x - shift)."""
    total = F(0.0)
    for i in range(n):
        total += exp(x[i] - shift)
    return total


@device
def vec_affine(x, y, scale, shift, n):
    """y = x * scale + shift."""
    for i in range(n):
        y[i] = x[i] * scale + shift


@kernel
def f32_softmax(x: f32p, y: f32p, rows: i64, n: i64, logarithm: i64, tid: i64, n_threads: i64):
    """Softmax, or its logarithm, of each row of n."""
    for row in range(rows * tid // n_threads, rows * (tid + 1) // n_threads):
        source, target = offset(x, row * n), offset(y, row * n)
        high = vec_max(source, n)
        if logarithm != 0:
            vec_affine(source, target, F(1.0), -(high + log(vec_sum_exp(source, high, n))), n)
        else:
            vec_affine(target, target, F(1.0) / vec_exp(source, target, high, n), F(0.0), n)


@device
def vec_scale_shift(x, y, scale, bias, mean, inverse, n):
    """y = (x - mean) * inverse * scale + bias, scale and bias by element."""
    for i in range(n):
        y[i] = (x[i] - mean) * inverse * scale[i] + bias[i]


@kernel
def f32_layer_norm(
    x: f32p, scale: f32p, bias: f32p, y: f32p, means: f32p, inverses: f32p, rows: i64, n: i64, epsilon: f32, keep: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """Normalise each row of n to mean 0 and variance 1, then scale and shift. keep: store means and 1 / deviations."""
    for row in range(rows * tid // n_threads, rows * (tid + 1) // n_threads):
        source = offset(x, row * n)
        mean = vec_sum(source, n) / F(n)
        inverse = F(1.0) / sqrt(vec_sum_squares(source, mean, n) / F(n) + epsilon)
        vec_scale_shift(source, offset(y, row * n), scale, bias, mean, inverse, n)
        if keep != 0:
            means[row] = mean
            inverses[row] = inverse
