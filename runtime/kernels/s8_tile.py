"""Tiles of products of int8, summed in int32: micro-kernel generators like those of `simd.py`.

Two layouts. By lane: an accumulator holds four channels, and NEON's `sdot` adds four products per lane of a vector of
input; weights (K / 4, columns, 4). In pairs: an accumulator holds partial sums of one channel, added up at the end;
weights (K / 16, columns, 16), then (columns, 8) where K is 8 more than a multiple of 16. There NEON adds two products in
int16, which holds them because weights are -127 to 127; x86 widens to int16 first.
"""

from alula.runtime.kernels.lang import COMPILING, intrinsic
from alula.runtime.kernels.simd import TILES, i64

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    from alula.runtime.kernels.lang import target_call
    from alula.runtime.kernels.memory import IS_X86

    I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
    WIDE = IS_X86 and TILES.width > 4  # sixteen products in one instruction

    def vector(element, count):
        """A vector type."""
        return ir.VectorType(element, count)

    B16, B8, H8, S4, F4 = vector(I8, 16), vector(I8, 8), vector(I16, 8), vector(I32, 4), vector(F32, 4)

MAGIC, MAGIC_BITS = 12582912.0, 0x4B400000  # 1.5 * 2**23: a small float added to it has its rounded value in the low bits


class Bytes:
    """LLVM operations on vectors of int8 and of their sums, as methods."""

    def __init__(self, builder):
        self.builder = builder

    def call(self, name, result, *values):
        """An intrinsic of LLVM."""
        kind = ir.FunctionType(result, [value.type for value in values])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), values)

    def load(self, pointer, kind, index=0):
        """A vector at any address."""
        where = self.builder.gep(pointer, [i64(index)]) if index != 0 else pointer
        value = self.builder.load(self.builder.bitcast(where, kind.as_pointer()))
        value.align = 1
        return value

    def store(self, value, pointer, index=0):
        """Write a vector to any address."""
        where = self.builder.gep(pointer, [i64(index)]) if index != 0 else pointer
        self.builder.store(value, self.builder.bitcast(where, value.type.as_pointer())).align = 1

    def pick(self, a, b, lanes):
        """Lanes of two vectors, as numbered through both."""
        return self.builder.shuffle_vector(a, b, ir.Constant(vector(I32, len(lanes)), lanes))

    def part(self, value, first, count):
        """Lanes next to each other."""
        return self.pick(value, ir.Constant(value.type, ir.Undefined), list(range(first, first + count)))

    def join(self, parts):
        """Vectors, one after the other: a power of two of them."""
        while len(parts) > 1:
            count = 2 * parts[0].type.count
            parts = [self.pick(a, b, list(range(count))) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def splat(self, scalar, kind):
        """A vector of one value."""
        undefined = ir.Constant(kind, ir.Undefined)
        return self.pick(
            self.builder.insert_element(undefined, scalar, ir.Constant(I32, 0)), undefined, [0] * kind.count
        )

    def keep(self, value):
        """A value that LLVM must hold in a register, not compute again where it is used."""
        return self.builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)

    def load_many(self, pointer, count):
        """`count` vectors of 16 bytes, next to each other; four at a time where the CPU can."""
        if IS_X86:
            return [self.load(pointer, B16, 16 * i) for i in range(count)]
        found = []
        while count:
            n = min(count, 4)
            where = self.builder.gep(pointer, [i64(16 * len(found))]) if found else pointer
            if n == 1:
                found.append(self.load(where, B16))
            else:
                many = ir.LiteralStructType([B16] * n)
                loaded = target_call(self.builder, f"llvm.aarch64.neon.ld1x{n}.v16i8.p0", many, [where])
                found += [self.builder.extract_value(loaded, i) for i in range(n)]
            count -= n
        return found

    def dot_lane(self, total, x, weight, lane):
        """Add products of four bytes of x (one lane of it) and four of each channel."""
        four = self.builder.bitcast(x, vector(I32, x.type.count // 4))
        spread = self.builder.bitcast(self.pick(four, ir.Constant(four.type, ir.Undefined), [lane] * 4), B16)
        return target_call(self.builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", S4, [total, weight, spread])

    def dot_pairs(self, total, x, weight):
        """Add products of 16 or 8 bytes of x and of a channel, to partial sums."""
        if IS_X86:
            return self._madd(total, x, weight)
        products = None
        for half in range(x.type.count // 8):
            pair = [self.part(v, 8 * half, 8) if v.type.count > 8 else v for v in (x, weight)]
            product = target_call(self.builder, "llvm.aarch64.neon.smull.v8i16", H8, pair)
            products = product if products is None else self.builder.add(products, product)
        pairs = target_call(self.builder, "llvm.aarch64.neon.saddlp.v4i32.v8i16", S4, [products])
        return self.builder.add(total, pairs)

    def _madd(self, total, x, weight):
        name = "llvm.x86.avx2.pmadd.wd" if WIDE else "llvm.x86.sse2.pmadd.wd"
        lanes = 16 if WIDE else 8
        for first in range(0, x.type.count, lanes):
            wide = []
            for value in (x, weight):
                count = min(lanes, value.type.count)
                part = self.part(value, first, count) if value.type.count > lanes else value
                part = self.builder.sext(part, vector(I16, count))
                if count < lanes:
                    part = self.pick(part, ir.Constant(part.type, [0] * count), list(range(2 * count)))
                wide.append(part)
            total = self.builder.add(total, target_call(self.builder, name, total.type, wide))
        return total

    def sums_of(self, totals):
        """Four vectors of partial sums as one vector of their sums."""
        if totals[0].type.count == 8:
            totals = [self.builder.add(self.part(t, 0, 4), self.part(t, 4, 4)) for t in totals]

        def add(a, b):
            if not IS_X86:
                return target_call(self.builder, "llvm.aarch64.neon.addp.v4i32", S4, [a, b])
            return self.builder.add(self.pick(a, b, [0, 2, 4, 6]), self.pick(a, b, [1, 3, 5, 7]))

        return add(add(totals[0], totals[1]), add(totals[2], totals[3]))


class Codes:
    """From sums to int8: times a float32 factor, rounded half to even, plus the zero point, within [low, high]."""

    def __init__(self, emit, zero, low, high, flip):
        self.emit, builder = emit, emit.builder
        self.flip = emit.splat(builder.trunc(flip, I8), B16)
        self.zero = zero
        if IS_X86:
            bounds = [builder.sitofp(builder.sub(bound, zero), F32) for bound in (low, high)]
            self.low, self.high = (emit.splat(bound, F4) for bound in bounds)
            self.back = emit.splat(builder.trunc(builder.sub(zero, i64(MAGIC_BITS)), I32), S4)
        else:
            self.low, self.high = (emit.splat(builder.trunc(bound, I8), B16) for bound in (low, high))
            self.zeros = emit.splat(builder.trunc(zero, I16), H8)

    def of(self, sums, factors):
        """Four vectors of sums as one of 16 bytes."""
        emit, builder = self.emit, self.emit.builder
        scaled = [builder.fmul(builder.sitofp(s, F4), f) for s, f in zip(sums, factors, strict=True)]
        if IS_X86:
            whole = []
            for value in scaled:
                value = emit.call("llvm.maxnum.v4f32", F4, value, self.low)
                value = emit.call("llvm.minnum.v4f32", F4, value, self.high)
                shifted = builder.bitcast(builder.fadd(value, ir.Constant(F4, [MAGIC] * 4)), S4)
                whole.append(builder.add(shifted, self.back))
            return builder.xor(builder.trunc(emit.join(whole), B16), self.flip)
        neon = "llvm.aarch64.neon"
        rounded = [target_call(builder, f"{neon}.fcvtns.v4i32.v4f32", S4, [v]) for v in scaled]
        short = [target_call(builder, f"{neon}.sqxtn.v4i16", vector(I16, 4), [v]) for v in rounded]
        halves = []
        for pair in (short[:2], short[2:]):
            moved = target_call(builder, f"{neon}.sqadd.v8i16", H8, [emit.join(pair), self.zeros])
            halves.append(target_call(builder, f"{neon}.sqxtn.v8i8", B8, [moved]))
        codes = target_call(builder, f"{neon}.smax.v16i8", B16, [emit.join(halves), self.low])
        codes = target_call(builder, f"{neon}.smin.v16i8", B16, [codes, self.high])
        return builder.xor(codes, self.flip)


def s8_tile(rows, columns, by_lane, codes):
    """`rows` x `columns` results: sums over taps and a run of `length` inputs each.

    The intrinsic: (table, weights, taps, length, out, out_stride, bias, factor, zero, low, high, flip).
    table  : addresses of the input rows, taps x rows
    length : bytes of a run, a multiple of 4 (by lane) or 8
    out    : int8 where `codes`, else int32; rows `out_stride` bytes apart
    bias   : int32, a multiple of four of them; factor: float32 likewise
    flip   : what codes are combined with by exclusive or: 0, or 128 for uint8
    """
    quads = columns // 4

    def start(emit, bias):
        """Accumulators with their first value."""
        if by_lane:
            first = [emit.load(bias, S4, 4 * j) for j in range(quads)]
        else:
            first = [ir.Constant(vector(I32, 8) if WIDE else S4, [0] * (8 if WIDE else 4))] * columns
        return [[cgutils.alloca_once_value(emit.builder, value) for value in first] for _ in range(rows)]

    def accumulate(emit, totals, inputs, weights, lanes):
        """Add the products of one vector of each input and the weights that belong to it."""
        builder = emit.builder
        for lane in range(lanes):
            for row, x in zip(totals, inputs, strict=True):
                for place, weight in zip(row, weights[lane * len(row) : (lane + 1) * len(row)], strict=True):
                    total = builder.load(place)
                    changed = emit.dot_lane(total, x, weight, lane) if by_lane else emit.dot_pairs(total, x, weight)
                    builder.store(changed, place)

    def one_tap(emit, totals, rows_at, length, weight_place):
        """All inputs of one tap."""
        builder = emit.builder
        place = cgutils.alloca_once_value(builder, ir.Constant(I64, 0))
        builder.store(ir.Constant(I64, 0), place)
        whole = builder.and_(length, i64(-16))
        block, lanes = (4 * quads, 4) if by_lane else (columns, 1)  # vectors of weights for 16 inputs
        with loop_while(builder, lambda: builder.icmp_signed("<", builder.load(place), whole)):
            at, here = builder.load(place), builder.load(weight_place)
            inputs = [emit.load(row, B16, at) for row in rows_at]
            accumulate(emit, totals, inputs, emit.load_many(here, block), lanes)
            builder.store(builder.gep(here, [i64(16 * block)]), weight_place)
            builder.store(builder.add(at, i64(16)), place)
        if by_lane:
            with loop_while(builder, lambda: builder.icmp_signed("<", builder.load(place), length)):
                at, here = builder.load(place), builder.load(weight_place)
                inputs = [emit.load(row, vector(I8, 4), at) for row in rows_at]
                accumulate(emit, totals, inputs, emit.load_many(here, quads), 1)
                builder.store(builder.gep(here, [i64(16 * quads)]), weight_place)
                builder.store(builder.add(at, i64(4)), place)
        else:
            with builder.if_then(builder.icmp_signed("<", whole, length)):
                at, here = builder.load(place), builder.load(weight_place)
                inputs = [emit.load(row, B8, at) for row in rows_at]
                accumulate(emit, totals, inputs, [emit.load(here, B8, 8 * c) for c in range(columns)], 1)
                builder.store(builder.gep(here, [i64(8 * columns)]), weight_place)

    def results(emit, totals, bias):
        """The sums, rows x quads of four channels."""
        builder = emit.builder
        values = [[builder.load(place) for place in row] for row in totals]
        if by_lane:
            return values
        first = [emit.load(bias, S4, 4 * j) for j in range(quads)]
        return [[builder.add(emit.sums_of(row[4 * j : 4 * j + 4]), first[j]) for j in range(quads)] for row in values]

    def store_codes(emit, sums, targets, factors, form):
        """Codes of as many rows at a time as fit a vector."""
        together = 16 // columns
        for first in range(0, rows, together):
            group = range(first, min(first + together, rows))
            units = [(sums[r][j], factors[j]) for r in group for j in range(quads)]
            units += [units[-1]] * (4 - len(units))
            packed = form.of([s for s, _ in units], [f for _, f in units])
            for i, r in enumerate(group):
                at, left = 0, columns
                while left:
                    size = next(n for n in (16, 8, 4) if n <= left)
                    emit.store(emit.part(packed, i * columns + at, size), targets[r], at)
                    at, left = at + size, left - size

    @intrinsic
    def tile(context, table, weights, taps, length, out, out_stride, bias, factor, zero, low, high, flip):
        def generate(cx, builder, signature, args):
            table, weights, taps, length, out, out_stride, bias, factor, zero, low, high, flip = args
            emit = Bytes(builder)
            totals = start(emit, bias)
            weight_place = cgutils.alloca_once(builder, weights.type)
            builder.store(weights, weight_place)
            with cgutils.for_range(builder, taps) as tap:
                line = builder.mul(tap.index, i64(rows))
                entries = [builder.load(builder.gep(table, [builder.add(line, i64(r))])) for r in range(rows)]
                rows_at = [builder.inttoptr(emit.keep(entry), I8.as_pointer()) for entry in entries]
                one_tap(emit, totals, rows_at, length, weight_place)
            sums = results(emit, totals, bias)
            out_at = builder.inttoptr(out, I8.as_pointer())
            targets = [builder.gep(out_at, [builder.mul(out_stride, i64(r))]) for r in range(rows)]
            if codes:
                factors = [emit.load(factor, F4, 4 * j) for j in range(quads)]
                store_codes(emit, sums, targets, factors, Codes(emit, zero, low, high, flip))
            else:
                for row, target in zip(sums, targets, strict=True):
                    for j, value in enumerate(row):
                        emit.store(value, target, 16 * j)
            return cx.get_dummy_value()

        whole = types.int64
        return types.void(
            table, weights, whole, whole, whole, whole, bias, factor, whole, whole, whole, whole
        ), generate

    return tile


class loop_while:  # noqa: N801 as cgutils.for_range
    """A loop that tests first; the body is what is built inside the `with`."""

    def __init__(self, builder, condition):
        self.builder, self.condition = builder, condition

    def __enter__(self):
        self.test = self.builder.append_basic_block("while")
        body, self.end = self.builder.append_basic_block("body"), self.builder.append_basic_block("end")
        self.builder.branch(self.test)
        self.builder.position_at_end(self.test)
        self.builder.cbranch(self.condition(), body, self.end)
        self.builder.position_at_end(body)

    def __exit__(self, *error):
        self.builder.branch(self.test)
        self.builder.position_at_end(self.end)


def copy_of(count):
    """An intrinsic that copies `count` bytes at any addresses, by one load and one store."""

    @intrinsic
    def copy(context, source, target):
        def generate(cx, builder, signature, args):
            emit = Bytes(builder)
            emit.store(emit.load(args[0], vector(I8, count)), args[1])
            return cx.get_dummy_value()

        return types.void(source, target), generate

    return copy
