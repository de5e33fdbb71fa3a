# mypy: ignore-errors
"""The index of a maximum or minimum."""

from alula.runtime.kernels.lang import device, f32p, i64, i64p, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.ops.reduce.kernel import vec_max, vec_min

BLOCK = 256  # columns whose running extremes stay in the first-level cache; a thread's scratch holds as many


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
