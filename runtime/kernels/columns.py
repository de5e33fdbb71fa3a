"""Matrices of (rows, channels) a few vectors of channels at a time: the base of tiles that loop over rows."""

from alula.runtime.kernels.lang import COMPILING, device
from alula.runtime.kernels.simd import TILES, Emitter

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils

    from alula.runtime.kernels.memory import IS_X86

    W = TILES.width
    I64 = ir.IntType(64)
else:
    W, IS_X86 = 1, False

SUMS = 4  # vectors of running sums: as many as it takes to hide the latency of an addition
COLUMNS = SUMS * W  # channels of a unit of work
# Channels of a row that are read in one run where there are more than COLUMNS. Pieces of rows that are apart are not
# what x86 fetches ahead: from memory they come at half the speed. A small core is short of instructions instead.
RUN = 64 * W if IS_X86 else COLUMNS


def by_columns(tile, arguments):
    """A device function (at, end, *arguments) that runs a tile over channels [at, end), in pieces as wide as they fit.

    tile : (vectors, width) -> an intrinsic (at, *arguments). No piece overlaps another, so tiles may work in place
    """
    if not COMPILING:
        return None
    scope, lines = {}, [f"def run(at, end, {arguments}):"]
    pieces = [(SUMS, W), (2, W), (1, W), *([(1, 4)] if W > 4 else []), (1, 1)]
    for vectors, width in pieces:
        name, size = f"tile{vectors}x{width}", vectors * width
        scope[name] = tile(vectors, width)
        word = "if" if vectors < SUMS and width == W else "while"
        lines.append(f"    {word} at + {size} <= end:\n        {name}(at, {arguments})\n        at += {size}")
    exec("\n".join(lines), scope)  # the text is made of the names above
    return device(scope["run"])


class Rows:
    """What tiles are made of: vectors of one piece of channels, and loops over rows."""

    def __init__(self, builder, vectors, width, at):
        self.builder, self.vectors, self.width, self.at = builder, vectors, width, at
        self.emit = Emitter(builder, width)

    def load(self, pointer, row=None, stride=None):
        """The vectors at pointer[row * stride + at]."""
        where = self.place(pointer, row, stride)
        return [self.emit.load(where, v * self.width) for v in range(self.vectors)]

    def store(self, values, pointer, row=None, stride=None):
        """Write vectors at pointer[row * stride + at]."""
        where = self.place(pointer, row, stride)
        for v, value in enumerate(values):
            self.emit.store(value, where, v * self.width)

    def place(self, pointer, row, stride):
        """The pointer to the piece of a row."""
        if row is not None:
            pointer = self.builder.gep(pointer, [self.builder.mul(row, stride)])
        return self.builder.gep(pointer, [self.at])

    def map(self, function, *operands):
        """A function of vectors, by vector."""
        return [function(*values) for values in zip(*operands, strict=True)]

    def sums(self, rows, count, terms):
        """`count` sums over rows. terms: (row) -> for each sum a function (running sum) -> new one, by vector.

        Rows are taken SUMS // `vectors` at a time, so that SUMS vectors of each sum are under way.
        """
        builder, together = self.builder, SUMS // self.vectors
        running = [
            [[self.emit.accumulator() for _ in range(self.vectors)] for _ in range(count)] for _ in range(together)
        ]
        for place in (p for group in running for sums in group for p in sums):
            builder.store(self.emit.constant(0.0), place)

        def add(row, group):
            for places, steps in zip(group, terms(row), strict=True):
                for place, step in zip(places, steps, strict=True):
                    builder.store(step(builder.load(place)), place)

        step = ir.Constant(I64, together)
        whole = builder.udiv(rows, step)
        with cgutils.for_range(builder, whole) as loop:
            first = builder.mul(loop.index, step)
            for r, group in enumerate(running):
                add(builder.add(first, ir.Constant(I64, r)), group)
        if together > 1:
            with cgutils.for_range(builder, rows, builder.mul(whole, step)) as loop:
                add(loop.index, running[0])
        totals = []
        for places in zip(*running, strict=True):  # one sum: its parts, by row of the group
            parts = [[builder.load(place) for place in group] for group in places]
            while len(parts) > 1:
                parts = [self.map(builder.fadd, a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
            totals.append(parts[0])
        return totals

    def bounded(self, value, low, high):
        """A vector between two bounds; NaN stays NaN."""
        if not IS_X86:
            return self.emit.call("minimum", self.emit.call("maximum", value, low), high)
        builder = self.builder
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        return builder.select(builder.fcmp_ordered(">", value, high), high, value)


def adders(builder, values):
    """Functions (running sum) -> sum with a value, by vector."""
    return [lambda total, value=value: builder.fadd(total, value) for value in values]
