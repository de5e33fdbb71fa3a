# mypy: ignore-errors
"""Copies between strided views: one loop nest for transpose, slice, concat, repeat and pad."""

from alula.runtime.kernels.lang import device, i32p, i64, i64p, kernel, u8p, u16p, words
from alula.runtime.kernels.memory import offset

TILE = 16  # a square that keeps 16 cache lines of the source open


@device
def copy_views(x, y, rank, shape, x_strides, y_strides, tid, n_threads):
    """y[i] = x[i] over an index space of `rank` >= 2 dimensions; strides in elements.

    The last dimension is the one that is dense in y; the one before it, if any is, the one that is dense in x.
    """
    inner, inner_x, inner_y = shape[rank - 1], x_strides[rank - 1], y_strides[rank - 1]
    second, second_x, second_y = shape[rank - 2], x_strides[rank - 2], y_strides[rank - 2]
    strips = (second + TILE - 1) // TILE
    outer = 1
    for d in range(rank - 2):
        outer *= shape[d]
    units = outer * strips
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        rest, first = unit // strips, unit % strips * TILE
        last = min(first + TILE, second)
        at_x, at_y = first * second_x, first * second_y
        for k in range(rank - 2):
            d = rank - 3 - k
            index = rest % shape[d]
            rest = rest // shape[d]
            at_x += index * x_strides[d]
            at_y += index * y_strides[d]
        source, target = offset(x, at_x), offset(y, at_y)
        if inner_x == 1 and inner_y == 1:
            for j in range(last - first):
                line, out = offset(source, j * second_x), offset(target, j * second_y)
                for i in range(inner):
                    out[i] = line[i]
        elif inner < TILE:
            for i in range(inner):
                line, out = offset(source, i * inner_x), offset(target, i * inner_y)
                for j in range(last - first):
                    out[j * second_y] = line[j * second_x]
        else:
            for begin in range(0, inner, TILE):
                for j in range(last - first):
                    line, out = offset(source, j * second_x), offset(target, j * second_y)
                    for i in range(begin, min(begin + TILE, inner)):
                        out[i * inner_y] = line[i * inner_x]


@kernel
def copy_4(x: i32p, y: i32p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 4 bytes. view: shape, strides in x, strides in y."""
    copy_views(x, y, rank, view, offset(view, rank), offset(view, 2 * rank), tid, n_threads)


@kernel(compact=True)
def copy_1(x: u8p, y: u8p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 1 byte."""
    copy_views(x, y, rank, view, offset(view, rank), offset(view, 2 * rank), tid, n_threads)


@kernel(compact=True)
def copy_2(x: u16p, y: u16p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 2 bytes."""
    copy_views(x, y, rank, view, offset(view, rank), offset(view, 2 * rank), tid, n_threads)


@kernel(compact=True)
def copy_8(x: i64p, y: i64p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 8 bytes."""
    copy_views(x, y, rank, view, offset(view, rank), offset(view, 2 * rank), tid, n_threads)
