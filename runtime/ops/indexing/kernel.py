# mypy: ignore-errors
"""The largest elements of a row, and gathering by computed indices."""

from alula.runtime.kernels.lang import device, f32p, i32p, i64, i64p, kernel
from alula.runtime.kernels.memory import offset


@device
def precedes(a, i, b, j, sign):
    """Whether element a at position i is chosen before b at j: the larger one (sign 1) or the smaller one (-1), then the first."""
    if a != a or b != b:  # NaN is the largest
        return i < j if (a != a and b != b) else (a != a) == (sign > 0)
    return sign * a > sign * b or (a == b and i < j)


@device
def sift(values, places, root, n, sign):
    """Move an element of a heap down, so that each precedes its parent: the root is the one to give up first."""
    child = 2 * root + 1
    while child < n:
        if child + 1 < n and precedes(values[child], places[child], values[child + 1], places[child + 1], sign):
            child += 1
        if precedes(values[child], places[child], values[root], places[root], sign):
            child = n
        else:
            swap(values, places, root, child)
            root = child
            child = 2 * root + 1


@device
def swap(values, places, i, j):
    """Exchange two elements."""
    value, place = values[i], places[i]
    values[i], places[i] = values[j], places[j]
    values[j], places[j] = value, place


@kernel(compact=True)
def f32_top_k(x: f32p, y: f32p, places: i64p, outer: i64, n: i64, k: i64, sign: i64, tid: i64, n_threads: i64):
    """The k largest (sign 1) or smallest (-1) of each row of n, the best first, and where they are; 1 <= k <= n.

    A heap of the best so far lies where the result will be; sorting it takes its root away again and again.
    """
    for o in range(outer * tid // n_threads, outer * (tid + 1) // n_threads):
        row, best, where = offset(x, o * n), offset(y, o * k), offset(places, o * k)
        for i in range(k):
            best[i] = row[i]
            where[i] = i
        for i in range(k // 2):
            sift(best, where, k // 2 - 1 - i, k, sign)
        for i in range(k, n):
            if precedes(row[i], i, best[0], where[0], sign):
                best[0] = row[i]
                where[0] = i
                sift(best, where, 0, k, sign)
        for i in range(k - 1):
            swap(best, where, 0, k - 1 - i)
            sift(best, where, 0, k - 1 - i, sign)


@kernel(compact=True)
def gather_elements_4(
    x: i32p, indices: i64p, y: i32p, outer: i64, size: i64, count: i64, inner: i64, tid: i64, n_threads: i64
):
    """y[o, j, i] = x[o, indices[o, j, i], i], of 4 bytes each. Negative indices count from the end; then they are clamped."""
    units = outer * count
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        table = offset(x, unit // count * size * inner)
        chosen, target = offset(indices, unit * inner), offset(y, unit * inner)
        for i in range(inner):
            index = chosen[i]
            index = index + size if index < 0 else index
            target[i] = table[min(max(index, 0), size - 1) * inner + i]
