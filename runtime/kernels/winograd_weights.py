"""The filters of a Winograd convolution from those of the direct one, for weights that change: U = G g G'."""

from alula.runtime.kernels.conv import panel_width
from alula.runtime.kernels.lang import COMPILING, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.kernels.simd import TILES, Emitter

if COMPILING:
    from numba.core import types

    from alula.runtime.kernels.conv import NR, STEP

    W = TILES.width

# Rows of G of F(2, 3) and of F(4, 3): the factors of the three taps
TRANSFORM = {
    2: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    4: ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1)),
}  # fmt: skip


def _transform(emit, rows, g):
    """G of three vectors. Rows that differ in the sign of the middle factor share the rest."""
    shared, given = {}, []
    for a, b, c in rows:
        if not b:
            factor, vector = (a, g[0]) if a else (c, g[2])
            given.append(vector if factor == 1 else emit.builder.fmul(emit.constant(factor), vector))
            continue
        if (a, c) not in shared:
            shared[a, c] = emit.axpy(a, g[0], emit.builder.fmul(emit.constant(c), g[2]))
        given.append(emit.axpy(b, g[1], shared[a, c]))
    return given


def filter_transform(width, m):
    """The intrinsic: (source, tap, target, component): 9 vectors `tap` elements apart, (m + 2) ** 2 of `component`."""

    @intrinsic
    def run(context, source, tap, target, component):
        def generate(cx, builder, signature, args):
            source, tap, target, component = args
            emit, rows = Emitter(builder, width), TRANSFORM[m]
            columns = [
                _transform(emit, rows, [emit.load_at(source, (3 * i + j, tap)) for i in range(3)]) for j in range(3)
            ]
            for i, line in enumerate(zip(*columns, strict=True)):
                for j, value in enumerate(_transform(emit, rows, line)):
                    emit.store_at(value, target, (i * len(rows) + j, component))
            return cx.get_dummy_value()

        return types.void(source, types.int64, target, types.int64), generate

    return run


if COMPILING:
    whole_2, whole_4, half_2, half_4 = (filter_transform(width, m) for width in (W, STEP) for m in (2, 4))


@kernel(compact=True)
def f32_winograd_weights(source: f32p, target: f32p, c_in: i64, c_out: i64, m: i64, tid: i64, n_threads: i64):
    """From panels of (9 * c_in, c_out) to (m + 2) ** 2 matrices of panels of (c_in, c_out)."""
    component = c_in * ((c_out + STEP - 1) // STEP * STEP)
    for row in range(c_in * tid // n_threads, c_in * (tid + 1) // n_threads):
        for panel in range(0, c_out, NR):
            width = panel_width(c_out - panel)
            filters = offset(source, panel * 9 * c_in + row * width)
            out = offset(target, panel * c_in + row * width)
            column = 0
            while column < width:
                if width - column >= W:
                    if m == 4:
                        whole_4(offset(filters, column), c_in * width, offset(out, column), component)
                    else:
                        whole_2(offset(filters, column), c_in * width, offset(out, column), component)
                    column += W
                else:
                    if m == 4:
                        half_4(offset(filters, column), c_in * width, offset(out, column), component)
                    else:
                        half_2(offset(filters, column), c_in * width, offset(out, column), component)
                    column += STEP
