# mypy: ignore-errors
"""Tiles of products of int8, summed in int32: micro-kernel generators like those of `simd.py`.

Two packings of weights. By lane: an accumulator holds four channels, and NEON's `sdot` adds four products per lane of a vector of
input; weights (K / 4, columns, 4). In pairs: an accumulator holds partial sums of one channel, added up at the end;
weights (K / 16, columns, 16), then (columns, 8) where K is 8 more than a multiple of 16. There NEON adds two products in
int16, which cannot overflow because weights are -127 to 127; x86 widens to int16 first.
"""

from alula.runtime.kernels.lang import COMPILING, intrinsic
from alula.runtime.kernels.simd import TILES, countdown, i64

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

MAGIC, MAGIC_BITS = (
    12582912.0,
    0x4B400000,
)  # 1.5 * 2**23: a small float added to it has its rounded value in the low bits


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
        """A pointer that LLVM must keep in a register, not recompute where it is used."""
        bits = self.builder.ptrtoint(value, I64)
        held = self.builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [bits], False)
        return self.builder.inttoptr(held, value.type)

    def after(self, vector, places):
        """A vector as it is, but known only once the sums in places are: products of the next row must not come earlier.

        Without it, LLVM would begin all products of a tile at once, which takes more registers than there are.
        """
        values = [vector, *map(self.builder.load, places)]
        kinds, n = [value.type for value in values], len(values)
        constraint = ",".join(["=x"] * n + [str(i) for i in range(n)])
        tied = self.builder.asm(ir.FunctionType(ir.LiteralStructType(kinds), kinds), "", constraint, values, False)
        for i, place in enumerate(places):
            self.builder.store(self.builder.extract_value(tied, i + 1), place)
        return self.builder.extract_value(tied, 0)

    def take_many(self, place, count):
        """`count` vectors of 16 bytes, next to each other; on NEON four at a time, each load moving the pointer on."""
        found = []
        while len(found) < count:
            n = 1 if IS_X86 else min(count - len(found), 4)
            where = place.take(16 * n)
            if n == 1:
                found.append(self.load(where, B16))
                continue
            place.set(self.keep(place.here()))
            many = ir.LiteralStructType([B16] * n)
            loaded = target_call(self.builder, f"llvm.aarch64.neon.ld1x{n}.v16i8.p0", many, [where])
            found += [self.builder.extract_value(loaded, i) for i in range(n)]
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
    """From sums to int8: times a float32 factor, rounded half to even, plus the zero point, saturated."""

    def __init__(self, emit, zero, flip):
        self.emit, builder = emit, emit.builder
        self.flip = emit.splat(builder.trunc(flip, I8), B16)
        if IS_X86:
            bounds = [builder.sitofp(builder.sub(i64(bound), zero), F32) for bound in (-128, 127)]
            self.low, self.high = (emit.splat(bound, F4) for bound in bounds)
            self.back = emit.splat(builder.trunc(builder.sub(zero, i64(MAGIC_BITS)), I32), S4)
        else:
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
        return builder.xor(emit.join(halves), self.flip)


class Place:
    """A pointer that moves on as loops go; it becomes a register."""

    def __init__(self, builder, value):
        self.builder = builder
        self.slot = cgutils.alloca_once_value(builder, value)

    def here(self):
        """Where it stands."""
        return self.builder.load(self.slot)

    def set(self, value):
        """Put it elsewhere."""
        self.builder.store(value, self.slot)

    def take(self, count):
        """Where it stands; then it is moved on by `count` elements."""
        value = self.here()
        self.set(self.builder.gep(value, [i64(count)]))
        return value


def s8_tile(rows, columns, by_lane, codes):
    """Tiles of `rows` x `panels` panels of `columns` results: sums over taps and a run of `length` inputs each.

    The intrinsic: (tiles, x, step, taps, offsets, length, weights, panels, out, out_stride, bias, factor, zero, flip).
    tiles  : how many, one after the other: inputs and results of the next begin `rows` rows further
    x      : address of the inputs of the first row; those of the next are `step` bytes further
    offsets: of each tap, in bytes
    length : bytes of a run, a multiple of 4 (by lane) or 8
    out    : address of int8 where `codes`, else int32; rows `out_stride` bytes apart
    bias   : int32, a multiple of four of them; factor: float32 likewise
    flip   : what codes are combined with by exclusive or: 0, or 128 for uint8
    """
    quads = columns // 4

    def accumulate(emit, totals, places, kind, weights, lanes):
        """Add the products of one vector of each input and the weights that belong to it."""
        builder = emit.builder
        # One vector of inputs per row; each `take` moves the row's pointer on
        inputs = [emit.load(place.take(kind.count), kind) for place in places]
        if kind is B16 and not IS_X86:  # the tail uses the loop's final pointers: not recomputed
            for place in places:
                place.set(emit.keep(place.here()))
        for lane in range(lanes):
            # Weights of one lane (or of all, in pairs) are loaded once and used by every row
            group = weights(len(totals[0]))
            for r, (row, x) in enumerate(zip(totals, inputs, strict=True)):
                # One row after the other, see `after`
                if r and not by_lane and not IS_X86 and kind is B16:
                    x = emit.after(x, totals[r - 1])
                for place, w in zip(row, group, strict=True):
                    total = builder.load(place)
                    builder.store(emit.dot_lane(total, x, w, lane) if by_lane else emit.dot_pairs(total, x, w), place)

    def one_tap(emit, totals, places, length, weight):
        """All inputs of one tap."""
        builder = emit.builder

        def take_16(count):
            return emit.take_many(weight, count)

        def take_8(count):
            start = weight.take(8 * count)
            return [emit.load(start, B8, 8 * c) for c in range(count)]

        # Blocks of 16 bytes, then the tail: 8 and 4 (by lane), or 8 (in pairs)
        with countdown(builder, builder.lshr(length, i64(4)), may_be_none=True):
            accumulate(emit, totals, places, B16, take_16, 4 if by_lane else 1)
        left = builder.and_(length, i64(15))
        if by_lane:
            for size in (8, 4):
                with builder.if_then(builder.icmp_signed("!=", builder.and_(left, i64(size)), i64(0))):
                    accumulate(emit, totals, places, vector(I8, size), take_16, size // 4)
        else:
            with builder.if_then(builder.icmp_signed("!=", left, i64(0))):
                accumulate(emit, totals, places, B8, take_8, 1)

    def results(emit, totals, bias):
        """The sums, rows x quads of four channels."""
        builder = emit.builder
        values = [[builder.load(place) for place in row] for row in totals]
        if by_lane:  # a vector holds four channels already, started from the bias
            return values
        # In pairs, a vector holds partial sums of one channel: four of them make four channels
        return [[builder.add(emit.sums_of(row[4 * j : 4 * j + 4]), bias[j]) for j in range(quads)] for row in values]

    def store_codes(emit, sums, targets, factors, form):
        """Codes of as many rows at a time as fit a vector."""
        together = 16 // columns  # rows that fill one vector of 16 codes
        for first in range(0, rows, together):
            group = range(first, min(first + together, rows))
            # Four vectors of four sums make 16 codes; a short group repeats its last one, which is not stored
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
    def tile(
        context, tiles, x, step, taps, offsets, length, weights, panels, out, out_stride, bias, factor, zero, flip
    ):
        def generate(cx, builder, signature, args):
            (
                tiles,
                x,
                step,
                taps,
                offsets,
                length,
                weights,
                panels,
                out,
                out_stride,
                biases_at,
                factors_at,
                zero,
                flip,
            ) = args
            emit = Bytes(builder)
            # Accumulators, rows x quads (by lane) or rows x columns (in pairs); LLVM puts them into registers
            kind = S4 if by_lane or not WIDE else vector(I32, 8)
            totals = [
                [cgutils.alloca_once(builder, kind) for _ in range(quads if by_lane else columns)] for _ in range(rows)
            ]
            weight, bias, factor = (Place(builder, pointer) for pointer in (weights, biases_at, factors_at))
            inputs, results_at = Place(builder, x), Place(builder, out)
            target = Place(builder, builder.inttoptr(out, I8.as_pointer()))
            form = Codes(emit, zero, flip) if codes else None
            # Tiles outside, panels inside, then taps: x of a tile stays in the cache for all panels, weights restart at each tile
            with countdown(builder, tiles):
                x = inputs.here()
                for place, start in ((weight, weights), (bias, biases_at), (factor, factors_at)):
                    place.set(start)
                target.set(builder.inttoptr(results_at.here(), I8.as_pointer()))
                with countdown(builder, panels):
                    # Accumulators start from the bias (by lane), or from zero (in pairs: the bias is added to the sums)
                    start = bias.take(columns)
                    biases = [emit.load(start, S4, 4 * j) for j in range(quads)]
                    first = biases if by_lane else [ir.Constant(kind, [0] * kind.count)] * columns
                    for row in totals:
                        for place, value in zip(row, first, strict=True):
                            builder.store(value, place)
                    tap = Place(builder, offsets)
                    with countdown(builder, taps):
                        at = builder.add(x, builder.load(tap.take(1)))
                        places = []
                        for r in range(rows):
                            places.append(Place(builder, builder.inttoptr(at, I8.as_pointer())))
                            places[-1].set(builder.inttoptr(at, I8.as_pointer()))
                            at = builder.add(at, step) if r < rows - 1 else at
                        one_tap(emit, totals, places, length, weight)
                    # int32 as they are, or scaled, rounded and clamped to codes; panels are next to each other in a row
                    sums = results(emit, totals, biases)
                    line, targets = target.take(columns * (1 if codes else 4)), []
                    for _ in range(rows):
                        targets.append(line)
                        line = builder.gep(line, [out_stride])
                    if codes:
                        scale = factor.take(columns)
                        store_codes(emit, sums, targets, [emit.load(scale, F4, 4 * j) for j in range(quads)], form)
                    else:
                        for row, where in zip(sums, targets, strict=True):
                            for j, value in enumerate(row):
                                emit.store(value, where, 16 * j)
                inputs.set(builder.add(x, builder.mul(step, i64(rows))))
                results_at.set(builder.add(results_at.here(), builder.mul(out_stride, i64(rows))))
            return cx.get_dummy_value()

        n = types.int64
        return types.void(n, n, n, n, offsets, n, weights, n, n, n, bias, factor, n, n), generate

    return tile


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
