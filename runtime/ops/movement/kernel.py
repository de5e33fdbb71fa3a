# mypy: ignore-errors
"""Copies between strided views: one loop nest for transpose, slice, concat, repeat and pad."""

from alula.runtime.kernels.lang import COMPILING, device, i32p, i64, i64p, intrinsic, kernel, u8p, u16p, words
from alula.runtime.kernels.memory import offset
from alula.runtime.kernels.simd import TILES, Emitter

if COMPILING:
    from numba.core import types

    W = min(TILES.width, 8)  # of a square of vectors; wider ones do not fit the registers

LONG = 1024  # of elements that are laid side by side, in pairs or triples
SHORT = 256  # elements of a line that are copied by a loop of vectors, not by the C library
TILE = 16  # a square that keeps 16 cache lines of the source open


def zipped(lanes, run, high):
    """Which lanes of two vectors, one behind the other, make one: runs of them in turn, from half of each 4 lanes."""
    taken = [4 * part + 2 * high + k for part in range(lanes // 4) for k in range(2)]
    pairs = [taken[k : k + run] for k in range(0, len(taken), run)]
    return [lane for pair in pairs for vector in (0, lanes) for lane in (vector + k for k in pair)]


def transposed(emit, rows):
    """W vectors as the columns of W vectors: neighbours are zipped, then pairs of neighbours, then halves of 4 lanes."""
    if emit.width == 2 * 4:
        low, high = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
        halves = [four_by_four(emit, rows[k : k + 4]) for k in (0, 4)]
        return [emit.shuffle(a, b, lanes) for lanes in (low, high) for a, b in zip(*halves, strict=True)]
    return four_by_four(emit, rows)


def four_by_four(emit, rows):
    """4 vectors, each 4 lanes of them transposed on their own."""
    a, b, c, d = rows
    ones = [(emit.shuffle(x, y, zipped(emit.width, 1, high))) for high in (0, 1) for x, y in ((a, b), (c, d))]
    return [
        emit.shuffle(ones[2 * half], ones[2 * half + 1], zipped(emit.width, 2, high))
        for half in (0, 1)
        for high in (0, 1)
    ]


@intrinsic
def transpose_square(context, x, x_stride, y, y_stride):
    """y[j, i] = x[i, j] for W x W elements; rows are so many elements apart."""

    def generate(cx, builder, signature, args):
        x, x_stride, y, y_stride = args
        emit = Emitter(builder, W)
        rows = [emit.load_at(x, (k, x_stride)) for k in range(W)]
        for k, row in enumerate(transposed(emit, rows)):
            emit.store_at(row, y, (k, y_stride))
        return cx.get_dummy_value()

    return types.void(x, x_stride, y, y_stride), generate


def copy_vectors(count):
    """The intrinsic (x, y): copy so many vectors."""

    @intrinsic
    def several(context, x, y):
        def generate(cx, builder, signature, args):
            emit = Emitter(builder, W)
            values = [emit.load(args[0], k * W) for k in range(count)]
            for k, value in enumerate(values):
                emit.store(value, args[1], k * W)
            return cx.get_dummy_value()

        return types.void(x, y), generate

    return several


copy_four, copy_one = copy_vectors(4), copy_vectors(1)


@device
def copy_lines(source, x_stride, target, y_stride, lines, length):
    """Lines of as many elements: vectors, the last of which may overlap the one before it. length : at least W"""
    fours, ones = length // (4 * W), length // W % 4
    for _ in range(lines):
        line, out = source, target
        for _ in range(fours):
            copy_four(line, out)
            line, out = offset(line, 4 * W), offset(out, 4 * W)
        for _ in range(ones):
            copy_one(line, out)
            line, out = offset(line, W), offset(out, W)
        if length % W != 0:
            copy_one(offset(source, length - W), offset(target, length - W))
        source, target = offset(source, x_stride), offset(target, y_stride)


@device
def transpose_strip(source, target, inner, inner_x, count, second_y):
    """target[j, i] = source[i, j], j < count: what is not in squares goes one by one."""
    rows, columns = inner // W * W, count // W * W
    for i in range(0, rows, W):
        for j in range(0, columns, W):
            transpose_square(offset(source, i * inner_x + j), inner_x, offset(target, j * second_y + i), second_y)
    for j in range(count):
        for i in range(rows if j < columns else 0, inner):
            target[j * second_y + i] = source[i * inner_x + j]


@device
def vec_two(first, second, y, n):
    """Two rows side by side: channels that are shuffled in two groups."""
    for j in range(n):
        y[2 * j] = first[j]
        y[2 * j + 1] = second[j]


@device
def vec_three(first, second, third, y, n):
    """Three rows side by side: an image's planes as pixels."""
    for j in range(n):
        y[3 * j] = first[j]
        y[3 * j + 1] = second[j]
        y[3 * j + 2] = third[j]


@device
def copy_views(x, y, rank, shape, x_strides, y_strides, words, tid, n_threads):
    """y[i] = x[i] over an index space of `rank` >= 2 dimensions; strides in elements.

    words : whether an element has 4 bytes, which can be transposed in vectors
    The last dimension is the one that is dense in y; the one before it, if any is, the one that is dense in x.
    """
    inner, inner_x, inner_y = shape[rank - 1], x_strides[rank - 1], y_strides[rank - 1]
    second, second_x, second_y = shape[rank - 2], x_strides[rank - 2], y_strides[rank - 2]
    side_by_side = words and second_x == 1 and inner_y == 1 and second_y == inner and (inner == 2 or inner == 3)
    size = LONG if side_by_side else TILE
    strips = (second + size - 1) // size
    outer = 1
    for d in range(rank - 2):
        outer *= shape[d]
    units = outer * strips
    ahead, first, at_x, at_y = 0, 0, 0, 0  # units that differ from this one in the third dimension from the end alone
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        if ahead > 0:
            ahead -= 1
            at_x += x_strides[rank - 3]
            at_y += y_strides[rank - 3]
        else:
            rest, first = unit // strips, unit % strips * size
            at_x, at_y = first * second_x, first * second_y
            if strips == 1 and rank > 2:
                ahead = shape[rank - 3] - 1 - rest % shape[rank - 3]
            for k in range(rank - 2):
                d = rank - 3 - k
                index = rest % shape[d]
                rest = rest // shape[d]
                at_x += index * x_strides[d]
                at_y += index * y_strides[d]
        last = min(first + size, second)
        source, target = offset(x, at_x), offset(y, at_y)
        if words and inner_x == 1 and inner_y == 1 and inner >= W and inner <= SHORT:
            copy_lines(source, second_x, target, second_y, last - first, inner)
        elif inner_x == 1 and inner_y == 1:
            for j in range(last - first):
                line, out = offset(source, j * second_x), offset(target, j * second_y)
                for i in range(inner):
                    out[i] = line[i]
        elif words and second_x == 1 and inner_y == 1 and inner >= W:
            transpose_strip(source, target, inner, inner_x, last - first, second_y)
        elif side_by_side:
            if inner == 2:
                vec_two(source, offset(source, inner_x), target, last - first)
            else:
                vec_three(source, offset(source, inner_x), offset(source, 2 * inner_x), target, last - first)
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


@kernel(compact=True)
def copy_4(x: i32p, y: i32p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 4 bytes. view: shape, strides in x, strides in y."""
    copy_views(x, y, rank, view, offset(view, rank), offset(view, 2 * rank), True, tid, n_threads)


@kernel(compact=True)
def copy_1(x: u8p, y: u8p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 1 byte."""
    copy_views(x, y, rank, view, offset(view, rank), offset(view, 2 * rank), False, tid, n_threads)


@kernel(compact=True)
def copy_2(x: u16p, y: u16p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 2 bytes."""
    copy_views(x, y, rank, view, offset(view, rank), offset(view, 2 * rank), False, tid, n_threads)


@kernel(compact=True)
def copy_8(x: i64p, y: i64p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 8 bytes."""
    copy_views(x, y, rank, view, offset(view, rank), offset(view, 2 * rank), False, tid, n_threads)
