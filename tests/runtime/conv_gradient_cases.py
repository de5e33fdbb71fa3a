"""Cases of the gradients of convolutions: of the weights, and of a depthwise one's input (its transposed convolution)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from alula.runtime.kernels.tiles import Tiles
from alula.runtime.ops.contract import find
from alula.runtime.ops.window import Window
from tests.runtime.kernel_case import Case, Stage, f, w


def weight_grad(x: tuple[int, ...], c_out: int, kernel: tuple[int, ...], **attrs: Any) -> Case:
    """The gradient of a convolution over x."""
    given = {"kernel_shape": kernel, **attrs}
    window = Window.sliding(find("Conv", "case").make_attrs(given, "case"), x[1:-1], kernel)
    pixels = x[0] * prod(window.out)
    return Case("ConvWeightGrad", (f(*x), f(x[0], *window.out, c_out)), given, terms=pixels)


def conv_gradients(tiles: Tiles) -> Iterator[Case]:
    """Direct, pointwise, with few channels, grouped, depthwise, 1-D; then transposed depthwise."""
    v, nr = tiles.width, tiles.columns
    same = {"pads": (1, 1, 1, 1)}
    for c_out in sorted({1, v - 1, v, v + 1, nr - 1, nr, nr + 1, 2 * nr + 3}):
        yield weight_grad((2, 5, 6, 7), c_out, (1, 1))
        yield weight_grad((2, 5, 6, 3), c_out, (3, 3), **same)
    for c_in in sorted({1, 2, v, v + 3, 16, 17, 29, 70}):
        yield weight_grad((1, 6, 9, c_in), nr + v, (3, 2), strides=(2, 1), pads=(1, 0, 2, 1))
        yield weight_grad((3, 7, 4, c_in), 5, (1, 1), strides=(2, 2))
    yield weight_grad((1, 1, 1, 9), 12, (1, 1))
    yield weight_grad((1, 31, 13, 3), 2 * nr, (7, 7), strides=(2, 2), pads=(3, 3, 3, 3))
    yield weight_grad((2, 9, 7, 4), 6, (3, 3), dilations=(2, 3), pads=(2, 3, 2, 3))
    yield weight_grad((1, 2, 2, 3), 4, (3, 3), pads=(4, 4, 4, 4))  # windows that lie in the padding altogether
    yield weight_grad((2, 17, 6), 9, (3,), pads=(1, 1), strides=(2,))
    yield weight_grad((1, 40, 5), 7, (4,), dilations=(3,))
    yield weight_grad((2, 7, 5, 8), 12, (3, 3), group=4, **same)
    yield weight_grad((1, 5, 5, 3), 3, (3, 3), group=3, **same)
    yield weight_grad((1, 90, 90, 20), 20, (3, 3), **same)  # more than the cache holds at a time
    for c_in, c_out in ((v, v), (v + 3, 2 * nr + 3), (2 * v, nr + v), (3 * v + 1, v)):  # by Winograd's filtering
        for shape, pads in (((3, 8, 12), (1, 1, 1, 1)), ((2, 9, 15), (0, 2, 1, 0)), ((1, 20, 21), (0, 0, 0, 0))):
            yield weight_grad((*shape, c_in), c_out, (3, 3), pads=pads)
    yield weight_grad((1, 40, 42, 3 * v), 3 * v, (3, 3), **same)  # in several blocks of tiles
    yield weight_grad((1, 23, 26, 64), 96, (3, 3), **same)  # in several parts of output channels
    depthwise = [((3, 3), (1, 1), (1, 1)), ((3, 3), (2, 2), (1, 1)), ((5, 5), (1, 1), (2, 2)), ((5, 5), (2, 2), (2, 2)),
                 ((3, 3), (1, 1), (4, 4)), ((3, 5), (2, 1), (1, 2)), ((1, 7), (1, 2), (0, 3)), ((3, 3), (2, 2), (0, 0))]  # fmt: skip
    for c in sorted({v // 2, v - 1, v, v + 1, 2 * v, 3 * v + 5}):
        for kernel, strides, pads in depthwise:
            window = {"strides": strides, "pads": pads * 2, "group": c}
            yield weight_grad((2, 8, 9, c), c, kernel, **window)
            inputs = (f(2, 5, 6, c), w(c, *kernel, 1))
            if max(pads) < 3 and c > 1:
                yield Case("ConvTranspose", inputs, window, terms=kernel[0] * kernel[1])
    yield weight_grad((2, 8, 9, v), v, (3, 3), group=v, dilations=(2, 2), pads=(2, 2, 2, 2))
    yield weight_grad((1, 30, v), v, (3,), group=v)
    window = {"group": v, "dilations": (2, 2), "pads": (2, 2, 2, 2)}
    yield Case("ConvTranspose", (f(1, 8, 7, v), w(v, 3, 3, 1)), window, terms=9)
    window = {"group": v, "strides": (2, 2), "output_padding": (1, 1), "pads": (1, 1, 1, 1)}
    residual = f(1, 16, 14, v)
    yield Case(
        "ConvTranspose",
        (f(1, 8, 7, v), w(v, 3, 3, 1)),
        window,
        (Stage("Add", (residual,)), Stage("Relu")),
        terms=9,
        slack=4,
    )
    window = {"group": v, "strides": (3, 3)}
    yield Case("ConvTranspose", (f(1, 4, 5, v), w(v, 2, 2, 1)), window, terms=4)  # some inputs have no taps
    for strides, kernel in (((2, 2), (1, 1)), ((3, 2), (2, 3))):  # outputs that no tap reaches
        window = {"strides": strides, "output_padding": (1, 0)}
        yield Case("ConvTranspose", (f(2, 5, 6, v + 1), w(v + 1, *kernel, nr + 3)), window, terms=2 * v)
        window = {"strides": strides, "output_padding": (0, 1), "pads": (0, 0, 0, 0)}
        yield Case("ConvTranspose", (f(2, 5, 6, v + 1), w(v + 1, *kernel, v)), window, (Stage("Relu"),), terms=2 * v)
