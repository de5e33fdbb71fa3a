"""Micro-kernel generators: functions that build LLVM IR for a tile of a result, all accumulators in registers.

A tile is `rows` x `vectors` vectors of `width` lanes. Numba never sees the vectors: each generator returns an
intrinsic that takes addresses and sizes, so the loops around it stay plain Python.
"""

from alula.runtime.kernels.lang import COMPILING, intrinsic
from alula.runtime.kernels.tiles import for_cpu

TILES = for_cpu(COMPILING) if COMPILING else None

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


class Emitter:
    """LLVM vector operations of one width, as methods."""

    def __init__(self, builder, width):
        self.builder = builder
        self.width = width
        self.vector = ir.VectorType(F32, width)

    def _call(self, name, *values):
        kind = ir.FunctionType(self.vector, [self.vector] * len(values))
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{self.width}f32")
        return self.builder.call(function, values)

    def fma(self, a, b, c):
        """a * b + c, rounded once."""
        return self._call("fma", a, b, c)

    def clamp(self, value, low, high):
        """min(max(value, low), high)."""
        return self._call("minnum", self._call("maxnum", value, low), high)

    def index(self, value):
        """An index constant."""
        return i64(value)

    def add(self, a, b):
        """a + b."""
        return self.builder.fadd(a, b)

    def sub(self, a, b):
        """a - b."""
        return self.builder.fsub(a, b)

    def axpy(self, factor, x, y):
        """factor * x + y, for a constant factor."""
        return self.fma(self.constant(factor), x, y)

    def _at(self, pointer, strides):
        """pointer + the sum of count * stride over pairs (count, stride)."""
        for count, stride in strides:
            if count:
                pointer = self.builder.gep(pointer, [self.builder.mul(i64(count), stride)])
        return pointer

    def load_at(self, pointer, *strides):
        """The vector at pointer + the sum of count * stride."""
        return self.load(self._at(pointer, strides))

    def store_at(self, value, pointer, *strides):
        """Write a vector at pointer + the sum of count * stride."""
        self.store(value, self._at(pointer, strides))

    def load(self, pointer, index=0):
        """The vector at pointer + index elements."""
        where = self.builder.gep(pointer, [i64(index)]) if index != 0 else pointer
        value = self.builder.load(self.builder.bitcast(where, self.vector.as_pointer()))
        value.align = 4
        return value

    def store(self, value, pointer, index=0):
        """Write a vector at pointer + index elements."""
        where = self.builder.gep(pointer, [i64(index)]) if index != 0 else pointer
        self.builder.store(value, self.builder.bitcast(where, self.vector.as_pointer())).align = 4

    def splat(self, scalar):
        """A vector of one value."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        )

    def constant(self, value):
        """A vector of one constant."""
        return ir.Constant(self.vector, [value] * self.width)

    def accumulator(self):
        """A place for a vector that lives across loops; it becomes a register."""
        return cgutils.alloca_once(self.builder, self.vector)


def i64(value):
    """An index: a Python integer, or an LLVM value as it is."""
    return ir.Constant(I64, value) if isinstance(value, int) else value


def matmul_tile(rows, widths, epilogue):
    """`rows` results x one vector of each of the `widths`: sum over taps and a run of `length` inputs each.

    The intrinsic: (table, weights, taps, length, out, out_stride, bias, low, high).
    table   : addresses of the input rows, taps x rows
    weights : (taps, length, sum(widths)), float32
    out     : float32, rows `out_stride` elements apart
    epilogue: start from `bias` and clamp to [low, high] (else start from zero and store the sum)
    """

    @intrinsic
    def tile(context, table, weights, taps, length, out, out_stride, bias, low, high):
        def generate(cx, builder, signature, args):
            table, weights, taps, length, out, out_stride, bias, low, high = args
            emits = [Emitter(builder, width) for width in widths]
            places = [sum(widths[:v]) for v in range(len(widths))]
            sums = [[emit.accumulator() for emit in emits] for _ in range(rows)]
            starts = [e.load(bias, at) if epilogue else e.constant(0.0) for e, at in zip(emits, places, strict=True)]
            for row in sums:
                for place, start in zip(row, starts, strict=True):
                    builder.store(start, place)
            weight_place = cgutils.alloca_once(builder, weights.type)
            builder.store(weights, weight_place)
            with cgutils.for_range(builder, taps) as tap:
                first = builder.mul(tap.index, i64(rows))
                inputs = [
                    builder.inttoptr(builder.load(builder.gep(table, [builder.add(first, i64(r))])), F32.as_pointer())
                    for r in range(rows)
                ]
                with cgutils.for_range(builder, length) as channel:
                    here = builder.load(weight_place)
                    columns = [emit.load(here, at) for emit, at in zip(emits, places, strict=True)]
                    for r in range(rows):
                        scalar = builder.load(builder.gep(inputs[r], [channel.index]))
                        for emit, column, place in zip(emits, columns, sums[r], strict=True):
                            builder.store(emit.fma(emit.splat(scalar), column, builder.load(place)), place)
                    builder.store(builder.gep(here, [i64(sum(widths))]), weight_place)
            bounds = [(emit.splat(low), emit.splat(high)) for emit in emits]
            for r in range(rows):
                target = builder.gep(out, [builder.mul(out_stride, i64(r))])
                for emit, at, place, (least, most) in zip(emits, places, sums[r], bounds, strict=True):
                    value = builder.load(place)
                    emit.store(emit.clamp(value, least, most) if epilogue else value, target, at)
            return cx.get_dummy_value()

        return types.void(table, weights, taps, length, out, out_stride, bias, low, high), generate

    return tile


def fma_chain_for(width):
    """`rounds` x 16 independent multiply-adds of one vector each."""

    @intrinsic
    def chain(context, result, rounds):
        def generate(cx, builder, signature, args):
            emit = Emitter(builder, width)
            sums = [emit.accumulator() for _ in range(16)]
            for i, place in enumerate(sums):
                builder.store(emit.constant(float(i)), place)
            factor = emit.splat(builder.load(args[0]))
            with cgutils.for_range(builder, args[1]):
                for place in sums:
                    builder.store(emit.fma(builder.load(place), factor, factor), place)
            total = emit.constant(0.0)
            for place in sums:
                total = builder.fadd(total, builder.load(place))
            builder.store(builder.extract_element(total, ir.Constant(I32, 0)), args[0])
            return cx.get_dummy_value()

        return types.void(result, types.int64), generate

    return chain


fma_chain = fma_chain_for(TILES.width) if COMPILING else None
