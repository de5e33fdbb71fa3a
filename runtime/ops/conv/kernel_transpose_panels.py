# mypy: ignore-errors
"""A convolution's weights in the panels of its transposed convolution: taps reversed, C_IN and C_OUT exchanged."""

from alula.runtime.kernels.lang import COMPILING, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.kernels.simd import Emitter
from alula.runtime.ops.conv.kernel import panel_width

if COMPILING:
    from llvmlite import ir
    from numba.core import types

    from alula.runtime.ops.conv.kernel import NR, STEP

    I32 = ir.IntType(32)


def square_transpose(size):
    """The intrinsic: (source, source_stride, target, target_stride): target[c, r] = source[r, c], size x size."""

    @intrinsic
    def run(context, source, source_stride, target, target_stride):
        def generate(cx, builder, signature, args):
            source, source_stride, target, target_stride = args
            emit = Emitter(builder, size)
            rows = [emit.load_at(source, (r, source_stride)) for r in range(size)]
            half = size // 2
            # Each of log2(size) rounds interleaves row i with row i + size / 2: so the bits of (row, column) rotate
            masks = [[lane // 2 + at + size * (lane % 2) for lane in range(size)] for at in (0, half)]
            masks = [ir.Constant(ir.VectorType(I32, size), mask) for mask in masks]
            for _ in range(size.bit_length() - 1):
                rows = [builder.shuffle_vector(rows[i], rows[i + half], mask) for i in range(half) for mask in masks]
            for r, row in enumerate(rows):
                emit.store_at(row, target, (r, target_stride))
            return cx.get_dummy_value()

        return types.void(source, types.int64, target, types.int64), generate

    return run


if COMPILING:
    transpose_block = square_transpose(STEP)


@kernel(compact=True)
def f32_transpose_panels(
    source: f32p, target: f32p, c_in: i64, c_out: i64, k_h: i64, k_w: i64, first_y: i64, first_x: i64, stride_h: i64,
    stride_w: i64, taps_y: i64, taps_x: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """From panels of (k_h * k_w * c_in, c_out) to panels of (taps_y * taps_x * c_out, c_in).

    Tap t of a direction is the source's tap first + stride * (taps - 1 - t), and zero where there is none.
    """
    depth, transposed_depth = k_h * k_w * c_in, taps_y * taps_x * c_out
    blocks = (c_in + STEP - 1) // STEP
    units = taps_y * taps_x * blocks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        tap, begin = unit // blocks, unit % blocks * STEP
        y, x = (
            first_y + stride_h * (taps_y - 1 - tap // taps_x),
            first_x + stride_w * (taps_x - 1 - tap % taps_x),
        )
        inside = y < k_h and x < k_w
        panel = begin // NR * NR
        stride = panel_width(c_in - panel)
        rows = min(STEP, c_in - begin)
        for column in range(0, c_out, STEP):
            columns = min(STEP, c_out - column)
            out = offset(target, panel * transposed_depth + (tap * c_out + column) * stride + begin - panel)
            of = column // NR * NR
            source_stride = panel_width(c_out - of)
            block = offset(source, of * depth + ((y * k_w + x) * c_in + begin) * source_stride + column - of)
            if inside and rows == STEP and columns == STEP:
                transpose_block(block, source_stride, out, stride)
            else:
                for j in range(columns):
                    for i in range(STEP):
                        out[j * stride + i] = block[i * source_stride + j] if inside and i < rows else 0.0
