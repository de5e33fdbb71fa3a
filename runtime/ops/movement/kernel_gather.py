# mypy: ignore-errors
"""Looking up by index."""

from alula.runtime.kernels.lang import device, f32p, i32p, i64, i64p, kernel, u8p, u16p
from alula.runtime.kernels.memory import offset


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
    grad_y: f32p, indices: i64p, grad_x: f32p, outer: i64, size: i64, count: i64, inner: i64, tid: i64, n_threads: i64
):
    """grad_x[o, k] = sum of grad_y[o, j] over all j with indices[j] = k, runs of `inner` elements; indices as `look_up` reads them.

    Threads share what lies before the axis, or the runs where that is too little: no two of them add to one element.
    """
    by_run = outer < n_threads
    first, last = (0, outer) if by_run else (outer * tid // n_threads, outer * (tid + 1) // n_threads)
    left, right = (inner * tid // n_threads, inner * (tid + 1) // n_threads) if by_run else (0, inner)
    for o in range(first, last):
        for k in range(size):
            vec_zero(offset(grad_x, (o * size + k) * inner + left), right - left)
        for j in range(count):
            index = indices[j]
            index = index + size if index < 0 else index
            index = min(max(index, 0), size - 1)
            target = offset(grad_x, (o * size + index) * inner + left)
            vec_accumulate(offset(grad_y, (o * count + j) * inner + left), target, right - left)
