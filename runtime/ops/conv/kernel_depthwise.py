# mypy: ignore-errors
"""Depthwise convolution, channels-last: one vector of channels at a time, along a few rows of outputs at once.

A sweep goes from left to right over the columns of the input. It reads each column once, adds it to the outputs of all
windows that contain it, and writes the outputs whose window ends there. Only unfinished sums are live. Windows that hang
over the left or right border have fewer columns; rows outside read zeros.
Filters are packed (ceil(C / W), K * K, W); the last vector of channels may overlap the one before it.
"""

from alula.runtime.kernels.fmath import INF
from alula.runtime.kernels.lang import COMPILING, device, f32, f32p, i64, i64p, intrinsic, kernel, words
from alula.runtime.kernels.memory import address_of, call_kernel, i32_bits, offset
from alula.runtime.kernels.simd import TILES, Emitter, dispatch

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    I8, I64 = ir.IntType(8), ir.IntType(64)
    W, ROWS = TILES.width, TILES.depthwise_rows
    TALL = ROWS - 1 if TILES.by_lane else ROWS  # of a 5x5 window with strides 2 and 1: sums of more would be spilled
    WIDTHS = (W, W // 2) if W >= 16 else (W,)  # fewer channels go pixel by pixel

COLUMNS = 40  # input columns of a sweep, about: what it reads stays in the first-level cache until the next vector
SCRATCH_WORDS = 32  # of a thread: the arguments of a sweep or of an epilogue


class Sweep:
    """Emits the sweep of one vector of channels over `rows` rows of outputs.

    k        : the window is k x k, its strides are `strides`
    live     : outputs of a row that a column of the input may belong to; as many columns are a round of the loop, so
               that sums need not move from register to register
    resident : whether all filters stay in registers; else each column reads them again
    """

    def __init__(self, builder, width, k, strides, rows):
        self.builder, self.emit, self.k, self.rows = builder, Emitter(builder, width), k, rows
        self.down, self.right = strides
        self.live = -(-k // self.right)
        self.lines = range((rows - 1) * self.down + k)  # rows of the input
        self.resident = k * k <= 9
        self.sums = [[self.emit.accumulator() for _ in range(rows)] for _ in range(self.live)]

    def set(self, table, y, y_row, c, low, high):
        """What is the same for all vectors of channels."""
        b = self.builder
        self.pixel = b.mul(c, ir.Constant(I64, 4))
        self.inputs = [b.load(b.gep(table, [ir.Constant(I64, r)])) for r in self.lines]
        first = b.ptrtoint(y, I64)
        if self.right == 1:  # one offset serves both: an output lies where the last column of its window does
            first = b.sub(first, b.mul(self.pixel, ir.Constant(I64, self.k - 1)))
        self.outputs = [b.add(first, b.mul(y_row, ir.Constant(I64, 4 * r))) for r in range(self.rows)]
        self.low, self.high = self.emit.splat(low), self.emit.splat(high)

    def at(self, address, place):
        """A pointer to vectors: address + place bytes."""
        b = self.builder
        base = b.inttoptr(address, I8.as_pointer())
        return b.bitcast(b.gep(base, [place]), self.emit.vector.as_pointer())

    def opaque(self, value, changing=False):
        """The same integer, but the optimiser does not know it; changing: nor that it stays what it was."""
        return self.builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [value], changing)

    def next_pixel(self, place):
        """The place one pixel further. Opaque, or else each row of each phase would have a pointer of its own."""
        return self.opaque(self.builder.add(place, self.pixel))

    def begin(self, weight, bias):
        """The filters and bias of a vector of channels."""
        self.weight, self.bias = weight, bias
        if self.resident:
            self.taps = [self.vector(weight, t) for t in range(self.k * self.k)]
            self.start = self.vector(bias, 0)

    def vector(self, pointer, index):
        """Vector `index` at a pointer to float32."""
        return self.emit.load(pointer, index * self.emit.width)

    def restart(self, place):
        """Sums of a new column of outputs."""
        start = self.start if self.resident else self.vector(self.reread(self.bias), 0)
        for s in self.sums[place]:
            self.builder.store(start, s)

    def reread(self, pointer):
        """The same pointer, but what is read there is not kept in registers."""
        b = self.builder
        return b.inttoptr(self.opaque(b.ptrtoint(pointer, I64), changing=True), pointer.type)

    def column(self, place, uses):
        """Read the column of the input at byte `place`, add it to the sums: uses are pairs (sums, column of the window)."""
        b = self.builder
        values = [b.load(self.at(self.inputs[r], place)) for r in self.lines]
        for value in values:
            value.align = 4
        weight = self.weight if self.resident else self.reread(self.weight)
        for k_y in range(self.k):
            for slot, k_x in uses:
                tap = k_y * self.k + k_x
                factor = self.taps[tap] if self.resident else self.vector(weight, tap)
                for row, total in enumerate(self.sums[slot]):
                    value = values[row * self.down + k_y]
                    b.store(self.emit.fma(value, factor, b.load(total)), total)

    def finish(self, slot, place, clamped):
        """Write a column of outputs at byte `place`."""
        b = self.builder
        if TILES.by_lane and self.right > 1 and not self.resident:
            self.settle()
        with b.if_then(clamped):
            for s in self.sums[slot]:
                b.store(self.emit.clamp(b.load(s), self.low, self.high), s)
        for s, output in zip(self.sums[slot], self.outputs, strict=True):
            b.store(b.load(s), self.at(output, place)).align = 4

    def settle(self):
        """All sums are up to date. LLVM would move additions after the clamp, and keep all their operands in registers."""
        b, kind = self.builder, self.emit.vector
        for place in (place for row in self.sums for place in row):
            b.store(b.asm(ir.FunctionType(kind, [kind]), "", "=x,0", [b.load(place)], True), place)

    def uses(self, phase, column):
        """Of column `column` of the window that ends in this phase: which sums it goes to, as which column."""
        taps = [((phase + d) % self.live, column - d * self.right) for d in range(self.live)]
        return [(slot, k_x) for slot, k_x in taps if 0 <= k_x < self.k]

    def run(self, channel, missing, steps, tail, half, clamped):
        """Sweep over one vector of channels, which begins at byte `channel`.

        missing : columns of the first window that lie left of the image
        steps   : windows that lie in the image, but for those
        tail    : windows that hang over the right border; the first of them has `half` new columns (at most stride - 1)
        """
        b, k, right = self.builder, self.k, self.right
        zero = ir.Constant(I64, 0)
        for slot in range(self.live - 1):
            self.restart(slot)
        place = channel
        for column in range(k - right):  # those that the first window shares with the next
            with b.if_then(b.icmp_signed("<=", missing, ir.Constant(I64, column))):
                self.column(place, self.uses(0, column))
            place = self.next_pixel(place)
        here, left = cgutils.alloca_once_value(b, place), cgutils.alloca_once_value(b, steps)
        target = here if right == 1 else cgutils.alloca_once_value(b, channel)
        phases = [b.append_basic_block(f"phase{p}") for p in range(self.live)]
        exits = [b.append_basic_block(f"exit{p}") for p in range(self.live)]
        done = b.append_basic_block("done")
        b.cbranch(b.icmp_signed(">", steps, zero), phases[0], exits[0])
        for phase in range(self.live):
            b.position_at_end(phases[phase])
            self.restart((phase + self.live - 1) % self.live)
            place = b.load(here)
            for column in range(k - right, k):
                self.column(place, self.uses(phase, column))
                place = self.next_pixel(place)
            self.finish(phase, b.load(target), clamped)
            if right > 1:
                b.store(self.next_pixel(b.load(target)), target)
            b.store(place, here)
            rest = b.sub(b.load(left), ir.Constant(I64, 1))
            b.store(rest, left)
            after = (phase + 1) % self.live
            b.cbranch(b.icmp_signed(">", rest, zero), phases[after], exits[after])
        for phase in range(self.live):
            b.position_at_end(exits[phase])
            place = b.load(here)
            for column in range(right - 1):
                with b.if_then(b.icmp_signed(">", half, ir.Constant(I64, column))):
                    self.column(place, [(s, t) for s, t in self.uses(phase, k - right + column)
                                        if s != (phase + self.live - 1) % self.live])  # fmt: skip
                place = self.next_pixel(place)
            place = b.load(target)
            for d in range(self.live - 1):
                with b.if_then(b.icmp_signed(">", tail, ir.Constant(I64, d))):
                    self.finish((phase + d) % self.live, place, clamped)
                place = self.next_pixel(place)
            b.branch(done)
        b.position_at_end(done)


def depthwise_sweep(width, k, strides, rows):
    """The intrinsic: (table, y, y_row, c, first, last, weight, bias, low, high, clamped, missing, steps, tail, half).

    table       : addresses of the rows of the input, at the left edge of the first window
    y           : the first output of the first row; rows are y_row elements apart
    first, last : vectors of channels, of `width`
    weight      : packed filters
    """

    @intrinsic
    def sweep(context, table, y, y_row, c, first, last, weight, bias, low, high, clamped, missing, steps, tail, half):
        def generate(cx, builder, signature, args):
            table, y, y_row, c, first, last, weight, bias, low, high, clamped, missing, steps, tail, half = args
            sweeper = Sweep(builder, width, k, strides, rows)
            sweeper.set(table, y, y_row, c, low, high)
            size, filters = ir.Constant(I64, width), ir.Constant(I64, k * k * width)
            final = builder.sub(c, size)
            clamped = builder.icmp_signed("!=", clamped, ir.Constant(I64, 0))
            with cgutils.for_range_slice(builder, first, last, ir.Constant(I64, 1)) as (index, _):
                channel = builder.mul(index, size)
                channel = builder.select(builder.icmp_signed("<", channel, final), channel, final)
                sweeper.begin(builder.gep(weight, [builder.mul(index, filters)]), builder.gep(bias, [channel]))
                sweeper.run(builder.mul(channel, ir.Constant(I64, 4)), missing, steps, tail, half, clamped)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(table, y, i, i, i, i, weight, bias, low, high, i, i, i, i, i), generate

    return sweep


def edge_pixel(width):
    """One output pixel for one vector of channels, any rows and columns of the kernel.

    The intrinsic: (x, row_stride, tap_stride, taps_y, taps_x, weight, weight_row, weight_stride, bias, y, low, high).
    """

    @intrinsic
    def pixel(
        context, x, row_stride, tap_stride, taps_y, taps_x, weight, weight_row, weight_stride, bias, y, low, high
    ):
        def generate(cx, builder, signature, args):
            x, row_stride, tap_stride, taps_y, taps_x, weight, weight_row, weight_stride, bias, y, low, high = args
            emit = Emitter(builder, width)
            place = emit.accumulator()
            builder.store(emit.load(bias), place)
            with cgutils.for_range(builder, taps_y) as tap_y:
                line = builder.gep(x, [builder.mul(tap_y.index, row_stride)])
                filters = builder.gep(weight, [builder.mul(tap_y.index, weight_row)])
                with cgutils.for_range(builder, taps_x) as tap_x:
                    value = emit.load(builder.gep(line, [builder.mul(tap_x.index, tap_stride)]))
                    factor = emit.load(builder.gep(filters, [builder.mul(tap_x.index, weight_stride)]))
                    builder.store(emit.fma(value, factor, builder.load(place)), place)
            emit.store(emit.clamp(builder.load(place), emit.splat(low), emit.splat(high)), y)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(x, i, i, i, i, weight, i, i, bias, y, low, high), generate

    return pixel


def sweep_runner(k, down, right):
    """A device function that runs the sweep of as many rows and channels as asked."""
    values = "table, y, y_row, c, first, last, weight, bias, low, high, clamped, missing, steps, tail, half"
    branches, sweeps = {}, {}
    for width in WIDTHS:
        most = TALL if (k, down, right) == (5, 2, 1) else ROWS
        for rows in sorted({most, max(most - 1, 1), 1}, reverse=True):
            name = f"sweep_{width}_{rows}"
            sweeps[name] = depthwise_sweep(width, k, (down, right), rows)
            enough = f"c >= {width}" if width == W else f"c < {W}"
            branches[f"rows == {rows} and {enough}"] = f"{name}({values})"
    return dispatch(f"rows, {values}", branches, sweeps, then="if")


def sweep_kernel(k, down, right):
    """The kernel that sweeps a k x k window with these strides."""
    run = sweep_runner(k, down, right) if COMPILING else None

    def sweep(
        rows: i64, y: f32p, y_row: i64, c: i64, first: i64, last: i64, weight: f32p, bias: f32p, low: f32, high: f32,
        clamped: i64, missing: i64, steps: i64, tail: i64, half: i64, table: words, tid: i64, n_threads: i64,
    ):  # fmt: skip
        run(rows, table, y, y_row, c, first, last, weight, bias, low, high, clamped, missing, steps, tail, half)

    sweep.__name__ = f"f32_depthwise_{k}x{k}_{down}{right}"
    return kernel(sweep)


# (window, stride down, to the right) -> its kernel; other windows go pixel by pixel
SWEEPS = {
    key: sweep_kernel(*key) for key in [(3, 1, 1), (3, 1, 2), (3, 2, 1), (3, 2, 2), (5, 1, 1), (5, 2, 1), (5, 2, 2)]
}

if COMPILING:
    pixel_wide, pixel_half = edge_pixel(W), edge_pixel(W // 2)


@device
def row_tiles(h_out, most):
    """Into how many tiles of nearly equal height to cut the rows: of `most` and one less, or else of 1."""
    tiles = (h_out + most - 1) // most
    return tiles if most * tiles - h_out <= tiles else h_out


@device
def sweep_tile(
    sweep, x, weight, bias, y, zeros, arguments, h, w, c, w_out, k, down, right, top, left, columns, first, last, rows, low, high,
):  # fmt: skip
    """A tile of `rows` x `columns` outputs, vectors [first, last) of channels; its first window begins at (top, left)."""
    missing = max(-left, 0)
    table = offset(arguments, 15)
    for r in range((rows - 1) * down + k):
        inside = top + r >= 0 and top + r < h
        table[r] = address_of(x) + 4 * c * ((top + r) * w + left) if inside else address_of(zeros) - 4 * c * missing
    room = w - left - k  # columns after the first window
    steps = min(room // right + 1 if room >= 0 else 0, columns)
    half = max(w - left - (k - right) - steps * right, 0) if steps < columns else 0
    arguments[0] = rows
    arguments[1] = address_of(y)
    arguments[2] = w_out * c
    arguments[3] = c
    arguments[4] = first
    arguments[5] = last
    arguments[6] = address_of(weight)
    arguments[7] = address_of(bias)
    arguments[8] = i32_bits(low)
    arguments[9] = i32_bits(high)
    arguments[10] = 1 if low > -INF or high < INF else 0
    arguments[11] = missing
    arguments[12] = steps
    arguments[13] = columns - steps
    arguments[14] = half
    call_kernel(sweep, address_of(arguments), 0, 1)


@device
def edge_pixels(
    x, weight, bias, y, h, w, c, k_h, k_w, stride_w, top, pad_left, dilation_h, dilation_w, columns, first, last, low, high
):  # fmt: skip
    """A row of outputs, vectors [first, last) of its channels, pixel by pixel; windows begin at row `top`."""
    width = W if c >= W else W // 2
    first_y = (-top + dilation_h - 1) // dilation_h if top < 0 else 0
    last_y = min(k_h, (h - top + dilation_h - 1) // dilation_h) if top < h else first_y
    taps_y = max(last_y - first_y, 0)
    for v in range(first, last):
        at = min(v * width, c - width)
        for out_x in range(columns):
            left = out_x * stride_w - pad_left
            first_x = (-left + dilation_w - 1) // dilation_w if left < 0 else 0
            last_x = min(k_w, (w - left + dilation_w - 1) // dilation_w) if left < w else first_x
            taps_x = max(last_x - first_x, 0)
            source = offset(x, ((top + first_y * dilation_h) * w + left + first_x * dilation_w) * c + at)
            filters = offset(weight, (v * k_h * k_w + first_y * k_w + first_x) * width)
            target, start = offset(y, out_x * c + at), offset(bias, at)
            if c >= W:
                pixel_wide(source, dilation_h * w * c, dilation_w * c, taps_y, taps_x, filters, k_w * W, W,
                           start, target, low, high)  # fmt: skip
            else:
                pixel_half(source, dilation_h * w * c, dilation_w * c, taps_y, taps_x, filters, k_w * (W // 2), W // 2,
                           start, target, low, high)  # fmt: skip


@kernel
def f32_depthwise(
    x: f32p, weight: f32p, bias: f32p, y: f32p, zeros: f32p, scratch: i64p, n: i64, h: i64, w: i64, c: i64, h_out: i64, w_out: i64,
    k_h: i64, k_w: i64, stride_h: i64, stride_w: i64, pad_top: i64, pad_left: i64, dilation_h: i64, dilation_w: i64,
    sweep: i64, blocks: i64, groups: i64, low: f32, high: f32, epilogue: i64, epilogue_stages: words, tid: i64, n_threads: i64,
):  # fmt: skip
    """y: (n, h_out, w_out, c); c is at least half a vector. scratch: SCRATCH_WORDS a thread.

    sweep  : the kernel that sweeps this window; 0 if pixel by pixel
    blocks : into how many sweeps a row is cut
    groups : into how many blocks the channels are cut, so that all threads have work
    """
    width = W if c >= W else W // 2
    vectors = (c + width - 1) // width
    tiles = row_tiles(h_out, TALL if k_h == 5 and stride_h == 2 and stride_w == 1 else ROWS) if sweep != 0 else h_out
    units = n * tiles * groups
    words_of_thread = offset(scratch, SCRATCH_WORDS * tid)
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        group, rest = unit % groups, unit // groups
        tile, image = rest % tiles, rest // tiles
        first, last = vectors * group // groups, vectors * (group + 1) // groups
        out_y = h_out * tile // tiles
        rows = h_out * (tile + 1) // tiles - out_y
        top = out_y * stride_h - pad_top
        source = offset(x, image * h * w * c)
        line = image * h_out + out_y
        for block in range(blocks):
            out_x = w_out * block // blocks
            columns = w_out * (block + 1) // blocks - out_x
            target = offset(y, (line * w_out + out_x) * c)
            if sweep != 0:
                sweep_tile(sweep, source, weight, bias, target, zeros, words_of_thread, h, w, c, w_out, k_h, stride_h, stride_w,
                           top, out_x * stride_w - pad_left, columns, first, last, rows, low, high)  # fmt: skip
            else:
                edge_pixels(source, weight, bias, target, h, w, c, k_h, k_w, stride_w, top, pad_left,
                            dilation_h, dilation_w, columns, first, last, low, high)  # fmt: skip
            if epilogue != 0:
                whole = columns == w_out  # then the rows of the tile are one long one
                begin, end = first * width, min(last * width, c)
                for r in range(1 if whole else rows):
                    words_of_thread[0] = address_of(offset(target, r * w_out * c + begin))
                    words_of_thread[1] = c
                    words_of_thread[2] = (line + r) * w_out + out_x
                    words_of_thread[3] = rows * w_out if whole else columns
                    words_of_thread[4] = begin
                    words_of_thread[5] = end - begin
                    words_of_thread[6] = address_of(epilogue_stages)
                    call_kernel(epilogue, address_of(words_of_thread), 0, 1)
