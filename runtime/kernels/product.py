"""The tile of a matrix product: a micro-kernel generator that keeps all accumulators in registers.

A tile is `rows` rows of a result x a few vectors of its columns. It sums over taps, and over a run of inputs in each.
There are two inner loops. On x86 an input is broadcast by the load, a channel at a time. On NEON four channels of a
row are one vector, and the multiply-add picks its lane, so that a step of four channels costs one load a row.
"""

from alula.runtime.kernels.lang import COMPILING, intrinsic
from alula.runtime.kernels.simd import TILES, Emitter, i64

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    from alula.runtime.kernels.lang import target_call

    F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


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
            accumulate = _by_lane if TILES.by_lane else _by_broadcast
            with cgutils.for_range(builder, taps) as tap:
                first = builder.mul(tap.index, i64(rows))
                inputs = [builder.load(builder.gep(table, [builder.add(first, i64(r))])) for r in range(rows)]
                accumulate(builder, emits, sums, inputs, weight_place, length)
            if epilogue:
                _clamp(builder, emits, sums, low, high)
            for r in range(rows):
                target = builder.gep(out, [builder.mul(out_stride, i64(r))])
                for emit, at, place in zip(emits, places, sums[r], strict=True):
                    emit.store(builder.load(place), target, at)
            return cx.get_dummy_value()

        return types.void(table, weights, taps, length, out, out_stride, bias, low, high), generate

    return tile


def _clamp(builder, emits, sums, low, high):
    """Clamp all sums; a bound that is infinite costs a comparison for the tile."""
    for bound, infinity, name in ((low, float("-inf"), "maxnum"), (high, float("inf"), "minnum")):
        with builder.if_then(builder.fcmp_ordered("!=", bound, ir.Constant(F32, infinity))):
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
        weights = _load_weights(builder, emits, here)
        for pointer, row in zip(inputs, sums, strict=True):
            scalar = builder.load(builder.gep(pointer, [channel.index]))
            for emit, weight, place in zip(emits, weights, row, strict=True):
                builder.store(emit.fma(emit.splat(scalar), weight, builder.load(place)), place)
        builder.store(builder.gep(here, [i64(columns)]), weight_place)


def _by_lane(builder, emits, sums, inputs, weight_place, length):
    """Four channels at a time, then one at a time: the multiply-add picks the lane of an input.

    Offsets run up to 0 from below, so that counting and comparing are one instruction.
    """
    lanes = TILES.width
    columns = sum(emit.width for emit in emits)
    whole = builder.and_(length, i64(-lanes))
    ends = [_in_register(builder, builder.add(address, builder.shl(whole, i64(2)))) for address in inputs]
    for step, first, last in ((lanes, builder.neg(whole), i64(0)), (1, i64(0), builder.sub(length, whole))):
        emit = Emitter(builder, step) if step > 1 else None
        with _offsets(builder, builder.shl(first, i64(2)), builder.shl(last, i64(2)), 4 * step) as at:
            vectors = []
            for end in ends:
                address = builder.inttoptr(builder.add(end, at), F32.as_pointer())
                vectors.append(emit.load(address) if emit else builder.load(address))
            here = builder.load(weight_place)
            for lane in range(step):
                if lane:
                    _fence(builder)
                weights = _load_weights(builder, emits, here)
                here = builder.gep(here, [i64(columns)])
                if TILES.load_many and lane < step - 1:  # so that the load before moves the pointer on
                    here = builder.inttoptr(_in_register(builder, builder.ptrtoint(here, I64)), here.type)
                for vector, row in zip(vectors, sums, strict=True):
                    for e, weight, place in zip(emits, weights, row, strict=True):
                        factor = e.lane(vector, lane) if emit else e.splat(vector)
                        builder.store(e.fma(factor, weight, builder.load(place)), place)
            builder.store(here, weight_place)


class _offsets:
    """A loop over byte offsets from `first` to before `last`; the value of `with` is the offset."""

    def __init__(self, builder, first, last, step):
        self.builder, self.first, self.last, self.step = builder, first, last, step

    def __enter__(self):
        builder = self.builder
        self.before = builder.basic_block
        self.body, self.done = builder.append_basic_block("steps"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("!=", self.first, self.last), self.body, self.done)
        builder.position_at_end(self.body)
        self.at = builder.phi(I64)
        self.at.add_incoming(self.first, self.before)
        return self.at

    def __exit__(self, *_):
        builder = self.builder
        following = builder.add(self.at, i64(self.step))
        self.at.add_incoming(following, builder.basic_block)
        again = builder.cbranch(builder.icmp_signed("!=", following, self.last), self.body, self.done)
        again.set_metadata("llvm.loop", self._never_unrolled())
        builder.position_at_end(self.done)

    def _never_unrolled(self):
        """The metadata of a loop that LLVM must leave as it is."""
        module = self.builder.module
        disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
        return module.add_metadata([disable])


def _fence(builder):
    """No load moves across, so that no more weights wait in registers than there are registers for."""
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)


def _in_register(builder, value):
    """The same value, which LLVM now keeps in a register instead of computing it again in the loop."""
    return builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [value], False)


def _load_weights(builder, emits, pointer):
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
