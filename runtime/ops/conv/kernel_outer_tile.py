# mypy: ignore-errors
"""The tile of a weight gradient: a micro-kernel generator for sums of outer products over pixels.

A tile is `rows` input channels x a few vectors of output channels. All sums stay in registers during the loop
over pixels. For each pixel the vectors of the output's gradient are loaded, and the inputs are broadcast by the load
(x86), or loaded four at a time and picked by lane (NEON). The pixels are a box of images x lines x pixels without borders.
"""

from alula.runtime.kernels.lang import COMPILING, intrinsic
from alula.runtime.kernels.product import load_vectors
from alula.runtime.kernels.simd import TILES, Emitter, countdown, i64

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    I8, F32, I64 = ir.IntType(8), ir.FloatType(), ir.IntType(64)


def outer_tile(rows, widths):
    """target (rows, sum(widths)) = [target +] sum over pixels of x[pixel]^T grad_y[pixel].

    The intrinsic: (x, x_steps, grad_y, dy_steps, box, target, stride, fresh).
    x, grad_y   : of the first pixel; steps: bytes from a pixel, a line, an image to the next
    box     : pixels, lines, images; images may be none, the others not
    stride  : elements from a row of the target to the next
    fresh   : start from zero instead of what the target holds
    """

    @intrinsic
    def tile(
        context,
        x,
        x_pixel,
        x_line,
        x_image,
        grad_y,
        dy_pixel,
        dy_line,
        dy_image,
        pixels,
        lines,
        images,
        target,
        stride,
        fresh,
    ):
        def generate(cx, builder, signature, args):
            x, x_pixel, x_line, x_image, grad_y, dy_pixel, dy_line, dy_image, *rest = args
            pixels, lines, images, target, stride, fresh = rest
            emits = [Emitter(builder, width) for width in widths]
            places = [sum(widths[:v]) for v in range(len(widths))]
            sums = [[emit.accumulator() for emit in emits] for _ in range(rows)]
            with builder.if_else(builder.icmp_signed("!=", fresh, i64(0))) as (new, old):
                with new:
                    for row in sums:
                        for emit, place in zip(emits, row, strict=True):
                            builder.store(emit.constant(0.0), place)
                with old:
                    for line, row in zip(_lines(builder, target, stride, rows), sums, strict=True):
                        for emit, at, place in zip(emits, places, row, strict=True):
                            builder.store(emit.load(line, at), place)
            image = [cgutils.alloca_once_value(builder, builder.ptrtoint(p, I64)) for p in (x, grad_y)]
            with countdown(builder, images, may_be_none=True):
                line = [cgutils.alloca_once_value(builder, builder.load(p)) for p in image]
                with countdown(builder, lines):
                    pixel = [cgutils.alloca_once_value(builder, builder.load(p)) for p in line]
                    with countdown(builder, pixels):
                        _add(builder, emits, sums, *(builder.load(p) for p in pixel))
                        move(builder, pixel, (x_pixel, dy_pixel))
                    move(builder, line, (x_line, dy_line))
                move(builder, image, (x_image, dy_image))
            for line, row in zip(_lines(builder, target, stride, rows), sums, strict=True):
                for emit, at, place in zip(emits, places, row, strict=True):
                    emit.store(builder.load(place), line, at)
            return cx.get_dummy_value()

        i = types.int64
        return types.void(x, i, i, i, grad_y, i, i, i, i, i, i, target, i, i), generate

    return tile


def _lines(builder, target, stride, rows):
    """Pointers to the rows of a target."""
    for _ in range(rows):
        yield target
        target = builder.gep(target, [stride])


def move(builder, places, steps):
    """Advance each address by its number of bytes."""
    for place, step in zip(places, steps, strict=True):
        builder.store(builder.add(builder.load(place), step), place)


def _add(builder, emits, sums, x, grad_y):
    """One pixel, by its addresses."""
    x, grad_y = (builder.inttoptr(address, F32.as_pointer()) for address in (x, grad_y))
    lanes = TILES.width
    vectors = load_vectors(builder, emits, grad_y)
    fours = len(sums) // lanes if TILES.by_lane else 0
    loaded = load_vectors(builder, [Emitter(builder, lanes)] * fours, x)
    for r, row in enumerate(sums):
        scalar = None if r < fours * lanes else builder.load(builder.gep(x, [i64(r)]))
        for emit, vector, place in zip(emits, vectors, row, strict=True):
            factor = emit.splat(scalar) if scalar is not None else emit.lane(loaded[r // lanes], r % lanes)
            builder.store(emit.fma(factor, vector, builder.load(place)), place)
