# mypy: ignore-errors
"""3x3 convolution of stride 1 by Winograd's minimal filtering: F(2x2, 3x3) and F(4x4, 3x3).

Y = A' [(G g G') . (B' d B)] A  (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016), with the
interpolation points 0, 1, -1, infinity and, for F(4x4), 2, -2. Each thread runs a block of tiles through three stages in
its own scratch: input transform, one matrix product for each of the 16 or 36 components, output transform
with bias and clamp. F(4x4) needs a quarter of the multiply-adds of the direct form, and loses about 2 bits.
"""

from functools import partial

from alula.runtime.kernels.lang import COMPILING, device, f32, f32p, i64, intrinsic, kernel, words
from alula.runtime.kernels.memory import LINE, address_of, call_kernel, i64_at, offset, prefetch
from alula.runtime.kernels.product import clamp_all
from alula.runtime.kernels.simd import TILES, Emitter, fence, in_register
from alula.runtime.ops.conv.kernel import copy_block, tile_runner

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    from alula.runtime.kernels.simd import I64
    from alula.runtime.ops.conv.kernel import MR, NR, STEP, W


FACTORS = (2.0, 4.0, 8.0, 1.0)  # of the transforms, up to their signs; the last one fills the vector


class TransformEmitter(Emitter):
    """On NEON all factors are lanes of one register, which LLVM does not know to be constant."""

    def __init__(self, builder, width):
        super().__init__(builder, width)
        if TILES.by_lane:
            kind, factors = ir.FunctionType(self.vector, [self.vector]), ir.Constant(self.vector, list(FACTORS))
            self.factors = builder.asm(kind, "", "=x,0", [factors], False)

    def axpy(self, factor, x, y):
        """factor * x + y."""
        if not TILES.by_lane:
            return super().axpy(factor, x, y)
        lane = self.lane(self.factors, FACTORS.index(abs(factor)))
        return self.fma(lane, x if factor > 0 else self.builder.fneg(x), y)


def _input_2(e, d):
    """B' of F(2, 3) on 4 vectors."""
    return [e.sub(d[0], d[2]), e.add(d[1], d[2]), e.sub(d[2], d[1]), e.sub(d[1], d[3])]


def _output_2(e, m):
    """A' of F(2, 3) on 4 vectors."""
    return [e.add(e.add(m[0], m[1]), m[2]), e.sub(e.sub(m[1], m[2]), m[3])]


def _input_4_first(e, d):
    """Rows 0 to 2 of B' of F(4, 3), on vectors 0 to 4. Multiply-adds add to what has no further use: NEON overwrites it."""
    even, odd = e.axpy(-4.0, d[2], d[4]), e.axpy(-4.0, d[1], d[3])
    return [e.axpy(4.0, d[0], e.sub(even, d[2])), e.add(even, odd), e.sub(even, odd)]


def _input_4_last(e, d):
    """Rows 3 to 5, on vectors 1 to 5."""
    far, near = e.sub(d[3], d[1]), e.sub(d[2], d[0])
    last = e.sub(e.axpy(-4.0, near, d[4]), d[2])
    return [e.axpy(2.0, near, far), e.axpy(-2.0, near, far), last]


def _output_4_even(e, m):
    """Rows 0 and 2 of A' of F(4, 3), on vectors 0 to 4."""
    a, c = e.add(m[1], m[2]), e.add(m[3], m[4])
    return [e.add(e.add(m[0], a), c), e.axpy(4.0, c, a)]


def _output_4_odd(e, m):
    """Rows 1 and 3, on vectors 1 to 5."""
    b, d = e.sub(m[0], m[1]), e.sub(m[2], m[3])
    last = e.add(e.axpy(8.0, d, m[4]), b)
    return [e.axpy(2.0, d, b), last]


# The parts of a transform: (function, which vectors it takes, which it gives). The parts share no work. All values of a
# 6x6 tile are more than NEON's registers hold, those of one part of its columns are not: reading some of the tile twice
# takes fewer instructions than writing its other half to memory and back.
INPUT_2, OUTPUT_2 = [(_input_2, range(4), range(4))], [(_output_2, range(4), range(2))]
INPUT_4 = [(_input_4_first, range(5), range(3)), (_input_4_last, range(1, 6), range(3, 6))]
OUTPUT_4 = [(_output_4_even, range(5), (0, 2)), (_output_4_odd, range(1, 6), (1, 3))]


def _transform(emit, parts, values):
    """All of a transform, of vectors in registers."""
    given = {}
    for part, takes, gives in parts:
        given.update(zip(gives, part(emit, [values[i] for i in takes]), strict=True))
    return [given[i] for i in sorted(given)]


def twice(emit, parts, these, places):
    """A transform over the columns of a grid of vectors in memory, then over its rows: pairs (row, its vectors).

    The columns come one after the other, for one part of the transform after the other.
    """
    for part, takes, gives in these:
        columns = []
        for column in zip(*places, strict=True):
            fence(emit.builder)
            columns.append(part(emit, [column[i]() for i in takes]))
        for row, values in zip(gives, zip(*columns, strict=True), strict=True):
            yield row, _transform(emit, parts, list(values))


def grid_of(emit, base, row_stride, column_stride, rows, columns):
    """Pointers to a grid of vectors; strides in elements. A row costs one addition, a column a register."""
    builder, index = emit.builder, emit.index
    address = builder.ptrtoint(base, I64)
    row_step, column_step = builder.shl(row_stride, index(2)), builder.shl(column_stride, index(2))
    steps = [index(0), *(in_register(builder, builder.mul(index(j), column_step)) for j in range(1, columns))]
    grid = []
    for _ in range(rows):
        grid.append([builder.inttoptr(builder.add(address, step), base.type) for step in steps])
        address = in_register(builder, builder.add(address, row_step))
    return grid


def input_transform(parts, size, width):
    """The intrinsic: (source, row_stride, pixel_stride, target, component_stride), one vector of channels."""

    @intrinsic
    def run(context, source, row_stride, pixel_stride, target, component_stride):
        def generate(cx, builder, signature, args):
            source, row_stride, pixel_stride, target, component_stride = args
            emit = TransformEmitter(builder, width)
            pixels = grid_of(emit, source, row_stride, pixel_stride, size, size)
            loads = [[partial(emit.load, pixel) for pixel in row] for row in pixels]
            lines = builder.mul(emit.index(size), component_stride)
            grid = grid_of(emit, target, lines, component_stride, size, size)
            for row, values in twice(emit, parts, parts, loads):
                for value, place in zip(values, grid[row], strict=True):
                    emit.store(value, place)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(source, i, i, target, i), generate

    return run


def output_transform(parts, size, width):
    """The intrinsic: (source, component_stride, target, row_stride, pixel_stride, bias, low, high)."""

    @intrinsic
    def run(context, source, component_stride, target, row_stride, pixel_stride, bias, low, high):
        def generate(cx, builder, signature, args):
            source, component_stride, target, row_stride, pixel_stride, bias, low, high = args
            emit = TransformEmitter(builder, width)
            lines = builder.mul(emit.index(size), component_stride)
            grid = grid_of(emit, source, lines, component_stride, size, size)
            loads = [[partial(emit.load, place) for place in row] for row in grid]
            # Column 1 of A' is all ones: what is added to component (1, 1) comes to all outputs
            loads[1][1] = lambda: emit.add(emit.load(grid[1][1]), emit.load(bias))
            outputs = grid_of(emit, target, row_stride, pixel_stride, size - 2, size - 2)
            for part in parts:  # each is whole before the next begins
                rows = {
                    row: [cgutils.alloca_once_value(builder, value) for value in values]
                    for row, values in twice(emit, parts, [part], loads)
                }
                clamp_all(builder, [emit], [[place] for row in rows.values() for place in row], low, high)
                for row, places in rows.items():
                    for place, output in zip(places, outputs[row], strict=True):
                        emit.store(builder.load(place), output)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(source, i, target, i, i, bias, low, high), generate

    return run


def vector_copy(width):
    """The intrinsic: (source, target), one vector."""

    @intrinsic
    def run(context, source, target):
        def generate(cx, builder, signature, args):
            emit = Emitter(builder, width)
            emit.store(emit.load(args[0]), args[1])
            return cx.get_dummy_value()

        return types.void(source, target), generate

    return run


def vector_zero(width):
    """The intrinsic: (target), one vector."""

    @intrinsic
    def run(context, target):
        def generate(cx, builder, signature, args):
            emit = Emitter(builder, width)
            emit.store(emit.constant(0.0), args[0])
            return cx.get_dummy_value()

        return types.void(target), generate

    return run


if COMPILING:
    copy_vector, copy_line, zero_vector, zero_line = (
        vector_copy(W),
        vector_copy(LINE),
        vector_zero(W),
        vector_zero(LINE),
    )
    forward_2, forward_4 = input_transform(INPUT_2, 4, W), input_transform(INPUT_4, 6, W)
    backward_2, backward_4 = output_transform(OUTPUT_2, 4, W), output_transform(OUTPUT_4, 6, W)
    run_tile = tile_runner(False)


@device
def transform_input(m, x, patch, v, v_stride, top, left, h, w, c):
    """One tile's input transform: (m + 2, m + 2, c) pixels from (top, left) -> (m + 2) ** 2 rows of c."""
    size = m + 2
    source, row_stride = x, w * c
    if top >= 0 and left >= 0 and top + size <= h and left + size <= w:
        source = offset(x, (top * w + left) * c)
    else:  # the tile hangs over the border: a copy with zeros around
        source, row_stride = patch, size * c
        for i in range(size):
            line = offset(patch, i * size * c)
            if top + i < 0 or top + i >= h:
                fill_zero(line, size * c)
            else:
                begin, end = max(0, -left), max(min(size, w - left), 0)
                fill_zero(line, begin * c)
                copy_run(offset(x, ((top + i) * w + left + begin) * c), offset(line, begin * c), (end - begin) * c)
                fill_zero(offset(line, end * c), (size - end) * c)
    for k in range((c + W - 1) // W):
        at = min(k * W, c - W)  # the last vector may overlap the one before it
        if m == 4:
            forward_4(offset(source, at), row_stride, c, offset(v, at), v_stride)
        else:
            forward_2(offset(source, at), row_stride, c, offset(v, at), v_stride)


@device
def fill_zero(target, n):
    """Set n elements to zero: none, or at least a vector."""
    at = 0
    while at + LINE <= n:
        zero_line(offset(target, at))
        at += LINE
    while at < n:
        zero_vector(offset(target, min(at, n - W)))
        at += W


@device
def copy_run(source, target, n):
    """Copy n elements: none, or at least a vector."""
    at = 0
    while at + LINE <= n:
        copy_line(offset(source, at), offset(target, at))
        at += LINE
    while at < n:
        last = min(at, n - W)
        copy_vector(offset(source, last), offset(target, last))
        at += W


@device
def transform_output(m, products, p_stride, patch, y, rows, columns, y_row, y_pixel, bias, low, high, c):
    """One tile's output transform: (m + 2) ** 2 rows of c -> `rows` x `columns` pixels of y, at most m x m."""
    whole = rows == m and columns == m
    target, row_stride, pixel = (y, y_row, y_pixel) if whole else (patch, m * c, c)
    for k in range((c + W - 1) // W):
        at = min(k * W, c - W)
        if m == 4:
            backward_4(
                offset(products, at), p_stride, offset(target, at), row_stride, pixel, offset(bias, at), low, high
            )
        else:
            backward_2(
                offset(products, at), p_stride, offset(target, at), row_stride, pixel, offset(bias, at), low, high
            )
    if not whole and y_pixel == c:
        copy_block(patch, m * c, y, y_row, rows, columns * c)
    elif not whole:
        for r in range(rows):
            copy_block(offset(patch, r * m * c), c, offset(y, r * y_row), y_pixel, columns, c)


@kernel
def f32_winograd(
    x: f32p, weight: f32p, component: i64, bias: f32p, y: f32p, scratch: f32p, scratch_size: i64, n: i64, h: i64, w: i64, c_in: i64,
    h_out: i64, w_out: i64, c_out: i64, y_pixel: i64, first_channel: i64, pad_top: i64, pad_left: i64, m: i64, block: i64,
    kept: i64, fresh: i64, low: f32, high: f32,
    ahead: f32p, ahead_lines: i64, later: f32p, later_lines: i64, epilogue: i64, epilogue_stages: words, tid: i64, n_threads: i64,
):  # fmt: skip
    """3x3, stride 1.

    weight   : (m + 2) ** 2 matrices (c_in, c_out), each packed in panels
    component: elements from one matrix to the next
    y        : its channels from `first_channel` on are written, c_out of the y_pixel that there are; bias: of these
    block    : tiles at a time
    kept     : tiles whose V stays, all that a thread has, so that the next call need not make it; 0: those of a block
    fresh    : whether V is made, or is there from the call before
    ahead    : what to fetch meanwhile, `ahead_lines` of the cache; `later` likewise
    scratch, for each thread: addresses and epilogue words, V, products, an input patch and an output patch
    """
    size = m + 2
    components = size * size
    columns = (c_out + STEP - 1) // STEP * STEP  # of a row of products
    v_stride, p_stride = max(block, kept) * c_in + W, block * columns + W
    table = i64_at(address_of(offset(scratch, tid * scratch_size)))
    v = offset(scratch, tid * scratch_size + 2 * (MR + 8))
    products = offset(v, components * v_stride)
    patch = offset(products, components * p_stride)
    out_patch = offset(patch, components * c_in)
    tiles_y, tiles_x = (h_out + m - 1) // m, (w_out + m - 1) // m
    tiles = n * tiles_y * tiles_x
    blocks = (tiles + block - 1) // block
    full = columns // NR
    rest = columns - full * NR
    own = tiles * (blocks * tid // n_threads) // blocks
    for b in range(blocks * tid // n_threads, blocks * (tid + 1) // n_threads):
        first, last = tiles * b // blocks, tiles * (b + 1) // blocks
        count = last - first
        here = offset(v, (first - own) * c_in if kept > 0 else 0)
        for t in range(first, last if fresh != 0 else first):
            image, place = t // (tiles_y * tiles_x), t % (tiles_y * tiles_x)
            top, left = place // tiles_x * m - pad_top, place % tiles_x * m - pad_left
            transform_input(
                m,
                offset(x, image * h * w * c_in),
                patch,
                offset(here, (t - first) * c_in),
                v_stride,
                top,
                left,
                h,
                w,
                c_in,
            )
        strips = (count + MR - 1) // MR
        for k in range(components):
            matrix = offset(weight, k * component)
            prefetch(ahead, ahead_lines, b * components + k, blocks * components)
            prefetch(later, later_lines, b * components + k, blocks * components)
            for strip in range(strips):
                row = count * strip // strips
                rows = count * (strip + 1) // strips - row
                for i in range(rows):
                    table[i] = address_of(offset(here, k * v_stride + (row + i) * c_in))
                out = offset(products, k * p_stride + row * columns)
                if full > 0:
                    run_tile(NR, rows, table, matrix, 1, c_in, full, out, columns, bias, low, high)
                if rest > 0:
                    rest_matrix = offset(matrix, full * NR * c_in)
                    run_tile(
                        rest, rows, table, rest_matrix, 1, c_in, 1, offset(out, full * NR), columns, bias, low, high
                    )
        begin = 0
        for t in range(first, last):
            image, place = t // (tiles_y * tiles_x), t % (tiles_y * tiles_x)
            out_y, out_x = place // tiles_x * m, place % tiles_x * m
            rows, wide = min(m, h_out - out_y), min(m, w_out - out_x)
            pixel = (image * h_out + out_y) * w_out + out_x
            target = offset(y, pixel * y_pixel + first_channel)
            transform_output(m, offset(products, (t - first) * columns), p_stride, out_patch, target, rows, wide, w_out * y_pixel,
                             y_pixel, bias, low, high, c_out)  # fmt: skip
            if t == first or out_x == 0:
                begin = out_x
            if epilogue != 0 and (t == last - 1 or out_x + m >= w_out):  # rows of pixels, over all tiles side by side
                run = out_x + wide - begin
                for r in range(rows):
                    line = pixel + r * w_out - (out_x - begin)
                    arguments = offset(table, MR)
                    arguments[0] = address_of(offset(y, line * y_pixel + first_channel))
                    arguments[1] = y_pixel
                    arguments[2] = line
                    arguments[3] = run
                    arguments[4] = first_channel
                    arguments[5] = c_out
                    arguments[6] = address_of(epilogue_stages)
                    call_kernel(epilogue, address_of(arguments), 0, 1)
