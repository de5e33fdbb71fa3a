# mypy: ignore-errors
"""Winograd filters from direct filters, for weights that change: U = G g G'.

Also for the transposed convolution, which computes the input gradient.
"""

from alula.runtime.kernels.lang import COMPILING, f32p, i64, intrinsic, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.kernels.simd import TILES, Emitter, fence
from alula.runtime.ops.conv.kernel import panel_width
from alula.runtime.ops.conv.kernel_transpose_panels import square_transpose

if COMPILING:
    from llvmlite import ir
    from numba.core import types

    from alula.runtime.ops.conv.kernel import NR, STEP

    W = TILES.width


FACTORS = {2: (1 / 2,) * 4, 4: (1 / 4, 1 / 6, 1 / 12, 1 / 24)}  # of G, up to their signs


class FilterEmitter(Emitter):
    """On NEON all factors are lanes of one register, which LLVM does not know to be constant."""

    def __init__(self, builder, width, m):
        super().__init__(builder, width)
        self.m = m
        if TILES.by_lane:
            kind, factors = ir.FunctionType(self.vector, [self.vector]), ir.Constant(self.vector, list(FACTORS[m]))
            self.factors = builder.asm(kind, "", "=x,0", [factors], False)

    def factor(self, value):
        """A vector of one of the factors."""
        return self.lane(self.factors, FACTORS[self.m].index(value)) if TILES.by_lane else self.constant(value)

    def transform(self, g):
        """G of three vectors."""
        b = self.builder
        if self.m == 2:
            half = self.factor(1 / 2)
            outer, middle = b.fmul(half, self.add(g[0], g[2])), b.fmul(half, g[1])
            return [g[0], self.add(outer, middle), self.sub(outer, middle), g[2]]
        quarter, sixth, twelfth, least = (self.factor(value) for value in FACTORS[4])
        outer, far = b.fneg(self.add(g[0], g[2])), self.fma(sixth, g[2], b.fmul(least, g[0]))
        near = [b.fmul(sixth, self.sub(outer, g[1])), b.fmul(sixth, self.add(outer, g[1]))]
        return [b.fmul(quarter, g[0]), *near, self.fma(twelfth, g[1], far), self.fma(twelfth, b.fneg(g[1]), far), g[2]]


def filter_transform(width, m):
    """The intrinsic: (source, tap, target, component): 9 vectors `tap` elements apart, (m + 2) ** 2 of `component`."""

    @intrinsic
    def run(context, source, tap, target, component):
        def generate(cx, builder, signature, args):
            source, tap, target, component = args
            emit, columns = FilterEmitter(builder, width, m), []
            for j in range(3):
                fence(builder)  # all 9 taps and 18 values between would not fit NEON's registers
                columns.append(emit.transform([emit.load_at(source, (3 * i + j, tap)) for i in range(3)]))
            for i, line in enumerate(zip(*columns, strict=True)):
                fence(builder)
                for j, value in enumerate(emit.transform(line)):
                    emit.store_at(value, target, (i * (m + 2) + j, component))
            return cx.get_dummy_value()

        return types.void(source, types.int64, target, types.int64), generate

    return run


if COMPILING:
    BLOCK = 9 * STEP * W
    transpose_block = square_transpose(STEP)
    whole_2, whole_4, half_2, half_4 = (filter_transform(width, m) for width in (W, STEP) for m in (2, 4))


@kernel(compact=True)
def f32_winograd_weights(
    source: f32p, target: f32p, component: i64, c_in: i64, c_out: i64, m: i64, tid: i64, n_threads: i64
):
    """From panels of (9 * c_in, c_out) to (m + 2) ** 2 matrices of panels of (c_in, c_out), `component` elements apart."""
    for row in range(c_in * tid // n_threads, c_in * (tid + 1) // n_threads):
        for panel in range(0, c_out, NR):
            width = panel_width(c_out - panel)
            filters = offset(source, panel * 9 * c_in + row * width)
            out = offset(target, panel * c_in + row * width)
            column = 0
            while column < width:
                if STEP < W and width - column < W:  # where a step is a vector, the first is known to be false
                    if m == 4:
                        half_4(offset(filters, column), c_in * width, offset(out, column), component)
                    else:
                        half_2(offset(filters, column), c_in * width, offset(out, column), component)
                    column += STEP
                else:
                    if m == 4:
                        whole_4(offset(filters, column), c_in * width, offset(out, column), component)
                    else:
                        whole_2(offset(filters, column), c_in * width, offset(out, column), component)
                    column += W


@kernel(compact=True)
def f32_winograd_transposed_weights(
    source: f32p, target: f32p, scratch: f32p, component: i64, c_in: i64, c_out: i64, first: i64, count: i64, m: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """From panels of (9 * c_in, c_out) to those of the transposed convolution: taps reversed, then transformed.

    target  : (m + 2) ** 2 matrices of panels of (c_out, `count` of c_in from `first` on), `component` elements apart
    scratch : BLOCK elements for each thread: the taps of STEP output channels and a vector of input channels
    """
    taps = offset(scratch, tid * BLOCK)
    blocks = (count + W - 1) // W
    for block in range(blocks * tid // n_threads, blocks * (tid + 1) // n_threads):
        begin = block * W
        panel = begin // NR * NR
        stride = panel_width(count - panel)
        for column in range(0, c_out, STEP):
            of = column // NR * NR
            source_stride = panel_width(c_out - of)
            for tap in range(9):
                line = offset(taps, (8 - tap) * STEP * W)
                for part in range(0, W, STEP):
                    rows = count - begin - part
                    from_ = offset(
                        source, of * 9 * c_in + (tap * c_in + first + begin + part) * source_stride + column - of
                    )
                    if rows >= STEP:  # columns that are no channels lie there as zeros
                        transpose_block(from_, source_stride, offset(line, part), W)
                    else:
                        for j in range(STEP):
                            for i in range(STEP):
                                line[j * W + part + i] = from_[i * source_stride + j] if i < rows else 0.0
            for j in range(min(STEP, c_out - column)):
                out = offset(target, panel * c_out + (column + j) * stride + begin - panel)
                if STEP < W and stride - (begin - panel) < W:
                    if m == 4:
                        half_4(offset(taps, j * W), STEP * W, out, component)
                    else:
                        half_2(offset(taps, j * W), STEP * W, out, component)
                else:
                    if m == 4:
                        whole_4(offset(taps, j * W), STEP * W, out, component)
                    else:
                        whole_2(offset(taps, j * W), STEP * W, out, component)
