# mypy: ignore-errors
"""The input gradient of a pointwise convolution over few pixels, from the weights as they lie.

Transposing the weights costs more than the product where pixels are few. So each result is a dot product along a row of the
panels: a tile is 4 rows x a few pixels, whose vectors of partial sums are added up together at the end.
"""

from alula.runtime.kernels.lang import COMPILING, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.kernels.simd import TILES, countdown
from alula.runtime.kernels.simd import Emitter as Vectors
from alula.runtime.kernels.simd import i64 as index

ROWS = 4  # of the panels, in a tile

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    I32 = ir.IntType(32)
    W, NR, STEP = TILES.width, TILES.columns, TILES.step
    MAX_PIXELS = 4 if TILES.by_lane or W == 16 else 2  # whose sums, with the rows, fit the register file


def dot_tile(pixels):
    """grad_x (pixels, ROWS) = grad_y (pixels, K) times the transpose of ROWS rows of panels of (depth, K).

    The intrinsic: (weights, last_weights, grad_y, dy_stride, grad_x, dx_stride, depth, panels, rest)
    weights, last_weights : of the first row, in the first whole panel, and in the narrower panel after the whole ones
    panels, rest          : whole panels, and columns of the last one, a multiple of STEP
    """

    @intrinsic
    def tile(context, weights, last_weights, grad_y, dy_stride, grad_x, dx_stride, depth, panels, rest):
        def generate(cx, builder, signature, args):
            weights, last_weights, grad_y, dy_stride, grad_x, dx_stride, depth, panels, rest = args
            emit, step = Vectors(builder, W), Vectors(builder, STEP)
            sums = [emit.accumulator() for _ in range(pixels * ROWS)]
            for place in sums:
                builder.store(emit.constant(0.0), place)
            at = cgutils.alloca_once_value(builder, grad_y)

            def add(load, rows, here):
                for p in range(pixels):
                    values = load(builder.gep(here, [builder.mul(index(p), dy_stride)]))
                    for row, place in zip(rows, sums[p * ROWS : (p + 1) * ROWS], strict=True):
                        builder.store(emit.fma(values, row, builder.load(place)), place)

            for source, count, stride, width, jump in (
                (weights, panels, index(NR), NR, builder.mul(depth, index(NR))),
                (last_weights, builder.udiv(rest, index(STEP)), rest, STEP, index(STEP)),
            ):
                place = cgutils.alloca_once_value(builder, source)
                lanes = emit if width == NR else step
                with countdown(builder, count, may_be_none=True):
                    line, here = builder.load(place), builder.load(at)
                    for v in range(0, width, lanes.width):
                        rows = [
                            _widened(builder, lanes.load(builder.gep(line, [builder.mul(index(r), stride)]), v))
                            for r in range(ROWS)
                        ]
                        add(lambda p, v=v, lanes=lanes: _widened(builder, lanes.load(p, v)), rows, here)
                    builder.store(builder.gep(line, [jump]), place)
                    builder.store(builder.gep(here, [index(width)]), at)
            totals = [builder.load(place) for place in sums]
            for first in range(0, len(totals), W):
                group = totals[first : first + W]
                folded = _folded(builder, group)
                for r in range(0, len(group), ROWS):
                    lanes = ir.Constant(ir.VectorType(I32, ROWS), list(range(r, r + ROWS)))
                    four = builder.shuffle_vector(folded, ir.Constant(folded.type, ir.Undefined), lanes)
                    pixel = (first + r) // ROWS
                    target = builder.gep(grad_x, [builder.mul(index(pixel), dx_stride)])
                    Vectors(builder, ROWS).store(four, target)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(weights, last_weights, grad_y, i, grad_x, i, i, i, i), generate

    return tile


def _widened(builder, vector):
    """The vector with zeros up to a whole one."""
    if vector.type.count == W:
        return vector
    lanes = ir.Constant(ir.VectorType(I32, W), list(range(W)))
    lanes = ir.Constant(lanes.type, [min(lane, vector.type.count) for lane in range(W)])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, None), lanes)


def _folded(builder, vectors):
    """One vector whose first lanes are the sums of the lanes of each of the vectors, a power of two of them.

    Every round halves the number of lanes of a sum, and merges two vectors into one while there are two.
    """
    spread = W
    while spread > 1:
        half = spread // 2
        others = vectors if len(vectors) == 1 else vectors[1::2]
        masks = []
        for begin in (0, half):
            own = [segment + begin + lane for segment in range(0, W, spread) for lane in range(half)]
            masks.append(ir.Constant(ir.VectorType(I32, W), own + [W + lane for lane in own]))
        vectors = [
            builder.fadd(*(builder.shuffle_vector(a, b, mask) for mask in masks))
            for a, b in zip(vectors[::2], others, strict=True)
        ]
        spread = half
    return vectors[0]


if COMPILING:
    dot_pixels, dot_pixel = dot_tile(MAX_PIXELS), dot_tile(1)


@kernel(compact=True)
def f32_point_input_grad(
    grad_y: f32p, weights: f32p, grad_x: f32p, pixels: i64, c_in: i64, c_out: i64, tid: i64, n_threads: i64
):
    """grad_x (pixels, c_in) of grad_y (pixels, c_out) and panels of (c_in, c_out).

    c_in is a multiple of ROWS, c_out of STEP
    """
    panels = c_out // NR
    rest = c_out - panels * NR
    blocks = c_in // ROWS
    for block in range(blocks * tid // n_threads, blocks * (tid + 1) // n_threads):
        row = block * ROWS
        whole, last = offset(weights, row * NR), offset(weights, panels * c_in * NR + row * rest)
        p = 0
        while p + MAX_PIXELS <= pixels:
            dot_pixels(
                whole, last, offset(grad_y, p * c_out), c_out, offset(grad_x, p * c_in + row), c_in, c_in, panels, rest
            )
            p += MAX_PIXELS
        while p < pixels:
            dot_pixel(
                whole, last, offset(grad_y, p * c_out), c_out, offset(grad_x, p * c_in + row), c_in, c_in, panels, rest
            )
            p += 1
