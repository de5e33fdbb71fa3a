"""Looking up by index, and the index of an extreme."""

from alula.runtime.kernels.lang import device, f32p, i32p, i64, i64p, kernel, u8p, u16p
from alula.runtime.kernels.memory import offset
from alula.runtime.kernels.reduce import vec_max, vec_min

BLOCK = 256  # columns whose running extremes stay in the first-level cache; a thread's scratch holds as many


@device
def vec_move(x, y, n):
    """Copy n elements."""
    for i in range(n):
        y[i] = x[i]


@device
def look_up(x, indices, y, outer, size, count, inner, tid, n_threads):
    """y[o, j] = x[o, indices[j]], runs of `inner` elements. Negative indices count from the end; then they are clamped."""
    units = outer * count
    begin = units * tid // n_threads
    o = begin // count
    j = begin - o * count
    for unit in range(begin, units * (tid + 1) // n_threads):
        index = indices[j]
        index = index + size if index < 0 else index
        index = min(max(index, 0), size - 1)
        source = (o * size + index) * inner
        if inner == 1:
            y[unit] = x[source]
        else:
            vec_move(offset(x, source), offset(y, unit * inner), inner)
        j += 1
        if j == count:
            j = 0
            o += 1


@kernel
def gather_1(x: u8p, indices: i64p, y: u8p, outer: i64, size: i64, count: i64, inner: i64, tid: i64, n_threads: i64):
    """Elements of 1 byte."""
    look_up(x, indices, y, outer, size, count, inner, tid, n_threads)


@kernel
def gather_2(x: u16p, indices: i64p, y: u16p, outer: i64, size: i64, count: i64, inner: i64, tid: i64, n_threads: i64):
    """Elements of 2 bytes."""
    look_up(x, indices, y, outer, size, count, inner, tid, n_threads)


@kernel
def gather_4(x: i32p, indices: i64p, y: i32p, outer: i64, size: i64, count: i64, inner: i64, tid: i64, n_threads: i64):
    """Elements of 4 bytes."""
    look_up(x, indices, y, outer, size, count, inner, tid, n_threads)


@kernel
def gather_8(x: i64p, indices: i64p, y: i64p, outer: i64, size: i64, count: i64, inner: i64, tid: i64, n_threads: i64):
    """Elements of 8 bytes."""
    look_up(x, indices, y, outer, size, count, inner, tid, n_threads)


@kernel
def gather_words(x: i32p, indices: i32p, y: i32p, count: i64, tid: i64, n_threads: i64):
    """y[i] = x[indices[i]] for words of 4 bytes, 0 where the index is negative."""
    for i in range(count * tid // n_threads, count * (tid + 1) // n_threads):
        index = indices[i]
        word = x[max(index, 0)]
        y[i] = word if index >= 0 else 0


@device
def vec_zero(x, n):
    """n zeros."""
    for i in range(n):
        x[i] = 0.0


@device
def vec_accumulate(x, total, n):
    """Add n elements."""
    for i in range(n):
        total[i] += x[i]


@kernel(compact=True)
def f32_gather_grad(
    dy: f32p, indices: i64p, dx: f32p, outer: i64, size: i64, count: i64, inner: i64, tid: i64, n_threads: i64
):
    """dx[o, k] = sum of dy[o, j] over all j with indices[j] = k, runs of `inner` elements; indices as `look_up` reads them.

    Threads share what lies before the axis, or the runs where that is too little: no two of them add to one element.
    """
    by_run = outer < n_threads
    first, last = (0, outer) if by_run else (outer * tid // n_threads, outer * (tid + 1) // n_threads)
    left, right = (inner * tid // n_threads, inner * (tid + 1) // n_threads) if by_run else (0, inner)
    for o in range(first, last):
        for k in range(size):
            vec_zero(offset(dx, (o * size + k) * inner + left), right - left)
        for j in range(count):
            index = indices[j]
            index = index + size if index < 0 else index
            index = min(max(index, 0), size - 1)
            target = offset(dx, (o * size + index) * inner + left)
            vec_accumulate(offset(dy, (o * count + j) * inner + left), target, right - left)


@device
def vec_start(x, best, y, n):
    """Row 0 is the best so far."""
    for i in range(n):
        best[i] = x[i]
        y[i] = 0


@device
def vec_contend(x, best, y, n, j, sign, last):
    """Let row j take over where it is better. sign: 1 finds the largest, -1 the smallest. NaN beats all."""
    for i in range(n):
        v, b = x[i], best[i]
        better = sign * v > sign * b
        better = better or (v != v and b == b)
        equal = (v == b) or (v != v and b != b)
        better = better or (last != 0 and equal)
        best[i] = v if better else b
        y[i] = j if better else y[i]


@device
def position_of(x, n, value, last):
    """First or last index of a value that is there; a NaN equals any."""
    for k in range(n):
        i = n - 1 - k if last != 0 else k
        if x[i] == value or (value != value and x[i] != x[i]):
            return i
    return 0


@kernel(compact=True)
def f32_arg(
    x: f32p, y: i64p, outer: i64, n: i64, inner: i64, sign: i64, last: i64, scratch: f32p, tid: i64, n_threads: i64
):
    """y[o, i] = index of the largest (sign 1) or smallest (sign -1) of x[o, :, i].

    last    : take the last of equal elements, else the first
    scratch : BLOCK elements per thread
    """
    if inner == 1:
        for o in range(outer * tid // n_threads, outer * (tid + 1) // n_threads):
            row = offset(x, o * n)
            y[o] = position_of(row, n, vec_max(row, n) if sign > 0 else vec_min(row, n), last)
    else:
        best = offset(scratch, tid * BLOCK)
        blocks = (inner + BLOCK - 1) // BLOCK
        units = outer * blocks
        for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
            o, column = unit // blocks, unit % blocks * BLOCK
            columns = min(BLOCK, inner - column)
            target = offset(y, o * inner + column)
            vec_start(offset(x, o * n * inner + column), best, target, columns)
            for j in range(1, n):
                vec_contend(offset(x, (o * n + j) * inner + column), best, target, columns, j, sign, last)
