"""The tile of a matrix product: a micro-kernel generator that keeps all accumulators in registers.

A tile is `rows` rows of a result x a few vectors of its columns. It sums over taps, and over a run of inputs in each.
There are two inner loops. On x86 an input is broadcast by the load, a channel at a time. On NEON four channels of a
row are one vector, and the multiply-add picks its lane, so four channels cost one load a row.
"""

from alula.runtime.kernels.lang import COMPILING, intrinsic
from alula.runtime.kernels.simd import TILES, Emitter, countdown, fence, i64, in_register

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    from alula.runtime.kernels.lang import target_call

    F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def matmul_tile(rows, widths, epilogue):
    """`rows` results x `panels` panels of one vector of each of the `widths`: sum over taps and a run of inputs each.

    The intrinsic: (table, weights, taps, length, panels, out, out_stride, bias, low, high).
    table   : addresses of the input rows, taps x rows; `length` inputs each
    weights : (panels, taps, length, sum(widths)), float32
    out     : float32, rows `out_stride` elements apart
    epilogue: start from `bias` and clamp to [low, high] (else start from zero and store the sum)
    """
    columns, places = sum(widths), [sum(widths[:v]) for v in range(len(widths))]

    @intrinsic
    def tile(context, table, weights, taps, length, panels, out, out_stride, bias, low, high):
        def generate(cx, builder, signature, args):
            table, weights, taps, length, panels, out, out_stride, bias, low, high = args
            emits = [Emitter(builder, width) for width in widths]
            sums = [[emit.accumulator() for emit in emits] for _ in range(rows)]
            weight_place, out_place = _pointer(builder, weights), _pointer(builder, out)
            bias_place = _pointer(builder, bias)
            accumulate = _by_lane if TILES.by_lane else _by_broadcast
            with countdown(builder, panels):
                first = builder.load(bias_place)
                for row in sums:
                    fence(builder)  # a pair of loads costs less than two copies of vectors
                    for emit, at, place in zip(emits, places, row, strict=True):
                        builder.store(emit.load(first, at) if epilogue else emit.constant(0.0), place)
                builder.store(builder.gep(first, [i64(columns)]), bias_place)
                table_place = _pointer(builder, table)
                with countdown(builder, taps):
                    line = builder.load(table_place)
                    inputs = [builder.load(builder.gep(line, [i64(r)])) for r in range(rows)]
                    builder.store(builder.gep(line, [i64(rows)]), table_place)
                    accumulate(builder, emits, sums, inputs, weight_place, length)
                if epilogue:
                    clamp_all(builder, emits, sums, low, high)
                target = builder.load(out_place)
                builder.store(builder.gep(target, [i64(columns)]), out_place)
                for row in sums:
                    for emit, at, place in zip(emits, places, row, strict=True):
                        emit.store(builder.load(place), target, at)
                    target = builder.gep(target, [out_stride])
            return cx.get_dummy_value()

        return types.void(table, weights, taps, length, panels, out, out_stride, bias, low, high), generate

    return tile


def _pointer(builder, value):
    """A place for a value that moves on as a loop goes; it becomes a register."""
    return cgutils.alloca_once_value(builder, value)


def clamp_all(builder, emits, sums, low, high):
    """Clamp rows of accumulators, in place; a bound that is infinite costs one comparison for all of them."""
    for bound, infinity, name in ((low, float("-inf"), "maxnum"), (high, float("inf"), "minnum")):
        with builder.if_then(builder.fcmp_unordered("!=", bound, ir.Constant(F32, infinity))):
            limits = [emit.splat(bound) for emit in emits]
            for row in sums:
                for emit, place, limit in zip(emits, row, limits, strict=True):
                    builder.store(emit.call(name, builder.load(place), limit), place)


def _by_broadcast(builder, emits, sums, inputs, weight_place, length):
    """A channel at a time: each input is broadcast to a vector."""
    columns = sum(emit.width for emit in emits)
    inputs = [builder.inttoptr(address, F32.as_pointer()) for address in inputs]
    with cgutils.for_range(builder, length) as channel:
        here = builder.load(weight_place)
        weights = load_vectors(builder, emits, here)
        for pointer, row in zip(inputs, sums, strict=True):
            scalar = builder.load(builder.gep(pointer, [channel.index]))
            for emit, weight, place in zip(emits, weights, row, strict=True):
                builder.store(emit.fma(emit.splat(scalar), weight, builder.load(place)), place)
        builder.store(builder.gep(here, [i64(columns)]), weight_place)


def _by_lane(builder, emits, sums, inputs, weight_place, length):
    """Four channels at a time, then one at a time: the multiply-add picks the lane of an input."""
    lanes = TILES.width
    columns = sum(emit.width for emit in emits)
    places = [_pointer(builder, builder.inttoptr(address, F32.as_pointer())) for address in inputs]
    four = Emitter(builder, lanes)
    for step, count in ((lanes, builder.lshr(length, i64(2))), (1, builder.and_(length, i64(lanes - 1)))):
        with countdown(builder, count, may_be_none=True):
            vectors = []
            for place in places:
                pointer = builder.load(place)
                vectors.append(four.load(pointer) if step == lanes else builder.load(pointer))
                builder.store(builder.gep(pointer, [i64(step)]), place)
            here = builder.load(weight_place)
            for lane in range(step):
                if lane:
                    fence(builder)
                weights = load_vectors(builder, emits, here)
                here = builder.gep(here, [i64(columns)])
                if TILES.load_many and lane < step - 1:  # so that the load before moves the pointer on
                    here = builder.inttoptr(in_register(builder, builder.ptrtoint(here, I64)), here.type)
                for vector, row in zip(vectors, sums, strict=True):
                    for emit, weight, place in zip(emits, weights, row, strict=True):
                        factor = emit.lane(vector, lane) if step == lanes else emit.splat(vector)
                        builder.store(emit.fma(factor, weight, builder.load(place)), place)
            builder.store(here, weight_place)


def load_vectors(builder, emits, pointer):
    """The vectors of one channel; on NEON up to four of them by one instruction."""
    loaded, at = [], 0
    while len(loaded) < len(emits):
        emit = emits[len(loaded)]
        run = sum(e.width == emit.width for e in emits[len(loaded) : len(loaded) + 4])
        place = builder.gep(pointer, [i64(at)])
        if TILES.load_many and run > 1:
            kind = ir.LiteralStructType([emit.vector] * run)
            many = target_call(builder, f"llvm.aarch64.neon.ld1x{run}.v{emit.width}f32.p0", kind, [place])
            loaded += [builder.extract_value(many, i) for i in range(run)]
        else:
            run = 1
            loaded.append(emit.load(place))
        at += run * emit.width
    return loaded
