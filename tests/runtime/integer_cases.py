"""Cases of convolutions of codes: sizes that straddle the int8 tiles, every layout of inputs, zero points, groups."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from alula.runtime.kernels.tiles import S8Tiles
from tests.runtime.kernel_case import Case, Input, scalar

Shape = tuple[int, ...]


def codes(shape: Shape, dtype: str, known: bool = False) -> Input:
    """Codes of the whole range; of weights, as far from their zero point as kernels take."""
    if dtype == "int8":
        return Input(shape, dtype, known=known, low=-127 if known else -128, high=128)
    return Input(shape, dtype, known=known, low=1 if known else 0, high=256)


def sums(x: Shape, weight: Shape, dtype: str = "int8", of: str = "int8", zero: int = 5, **attrs: Any) -> Case:
    """ConvInteger."""
    zeros = (scalar(zero, dtype), scalar(128 if of == "uint8" else 0, of))
    return Case("ConvInteger", (codes(x, dtype), codes(weight, of, True), *zeros), attrs, exact=True)


def quantised(
    x: Shape, weight: Shape, dtype: str = "int8", of: str = "int8", to: str = "", zero: int = 5, **attrs: Any
) -> Case:
    """QLinearConv with a bias, and a scale for each output channel. Steps of 1/64 bring ties."""
    c_out, to = weight[0], to or dtype
    scales = Input((c_out,), known=True, low=0.01, high=0.1) if c_out % 2 else scalar(1 / 64)
    inputs = (
        codes(x, dtype), scalar(0.5), scalar(zero, dtype), codes(weight, of, True), scales,
        scalar(128 if of == "uint8" else 0, of), scalar(4.0), scalar(7, to),
        Input((c_out,), "int32", known=True, low=-3000, high=3000),
    )  # fmt: skip
    return Case("QLinearConv", inputs, attrs, exact=True)


def integer_convolutions(tiles: S8Tiles) -> Iterator[Case]:
    """ConvInteger and QLinearConv."""
    nr, mr, around = tiles.columns, tiles.rows, (1, 1, 1, 1)
    for conv in (sums, quantised):
        for c_out in sorted({1, 3, 4, 5, nr - 1, nr, nr + 1, 2 * nr + 3}):
            yield conv((1, 5, 7, 16), (c_out, 1, 1, 16))
            yield conv((2, 5, 4, 3), (c_out, 3, 3, 3), pads=around)
        for pixels in sorted({1, mr - 1, mr, mr + 1, 2 * mr + 1}):
            yield conv((1, 1, pixels, 24), (9, 1, 1, 24))
            yield conv((1, pixels, 1, 17), (9, 3, 1, 17), pads=(1, 0, 1, 0))
        for c_in in (1, 3, 4, 8, 16, 17, 20, 24, 40, 64):
            yield conv((2, 6, 9, c_in), (5, 3, 2, c_in), strides=(2, 1), pads=(1, 0, 2, 1), zero=-9)
            yield conv((1, 6, 9, c_in), (6, 1, 1, c_in), zero=-128)
            yield conv((1, 7, 9, c_in), (6, 3, 3, c_in), pads=(2, 3, 2, 3), dilations=(2, 3))
        for dtype, of in itertools.product(("int8", "uint8"), ("int8", "uint8")):
            yield conv((1, 8, 9, 16), (16, 3, 3, 16), dtype, of, pads=around, strides=(2, 2))
        yield conv((2, 9, 7, 32), (12, 3, 3, 16), group=2, pads=around)
        yield conv((1, 9, 7, 12), (12, 1, 1, 3), "uint8", group=4)
        yield conv((1, 9, 7, 4), (8, 3, 3, 1), group=4, auto_pad="SAME_UPPER")
        yield conv((1, 2, 2, 16), (4, 3, 3, 16), pads=(4, 4, 4, 4))  # windows that lie in the padding altogether
        yield conv((2, 17, 6), (9, 3, 6), pads=(1, 1), strides=(2,))
    yield quantised((1, 8, 9, 16), (5, 1, 1, 16), "uint8", to="int8")
    yield quantised((1, 8, 9, 16), (5, 1, 1, 16), "int8", to="uint8")
    yield Case("ConvInteger", (codes((1, 5, 6, 4), "int8"), codes((7, 3, 3, 4), "int8", True)), exact=True)
    far = Input((7, 3, 3, 4), "uint8", known=True, low=0, high=256)  # differences that int8 does not hold
    yield Case(
        "ConvInteger",
        (codes((1, 5, 6, 4), "int8"), far, scalar(0, "int8"), scalar(9, "uint8")),
        exact=True,
        kernel=False,
    )
    yield Case("ConvInteger", (codes((1, 5, 6, 4), "uint8"), codes((7, 3, 3, 4), "int8")), exact=True, kernel=False)
    by_channel = (scalar(3, "int8"), Input((7,), "int8", known=True, low=-3, high=4))
    near = Input((7, 3, 3, 4), "int8", known=True, low=-100, high=100)
    yield Case("ConvInteger", (codes((1, 5, 6, 4), "int8"), near, *by_channel), exact=True)
