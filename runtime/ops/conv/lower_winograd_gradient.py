"""Which weight gradients of 3x3 convolutions use Winograd's filtering."""

from __future__ import annotations

import math

from alula.runtime.kernels.tiles import Tiles
from alula.runtime.ops.conv import kernel_winograd_gradient as kernels
from alula.runtime.ops.conv.lower_winograd import SCRATCH_BYTES, TRANSFORM_COST
from alula.runtime.ops.window import Window
from alula.runtime.planning.lowering import FnRef, Lowering, Ref

COMPONENTS = 36
GRADIENT_COST = 80 + 52  # vector operations of the transform of a tile of gradients, per vector of channels
TAPS_COST = 90 + 54  # of the last transform, per input channel and vector of output channels
# Of each sum, once in a block of tiles: a load, a store, and a share of what a tile of products costs to begin
SUMS_COST = 5
MAX_SUMS_BYTES = 3 << 17  # per thread; of more output channels at a time, the sums would fill the cache
MAX_PARTS = 4  # each of which transforms the inputs again


def lower_winograd_weight_grad(
    lowering: Lowering, x: Ref, grad_y: Ref, target: Ref, window: Window, image: tuple[int, ...], c_out: int
) -> bool:
    """Emit the kernels, into panels of (9 * c_in, c_out), if they are faster than the direct form."""
    tiles, threads = lowering.tiles, lowering.n_threads
    n, h, w, c_in = image
    unit = (1, 1)
    if window.kernel != (3, 3) or window.strides != unit or window.dilations != unit or min(c_in, c_out) < tiles.width:
        return False
    panels = math.ceil(c_out / tiles.columns)
    parts = math.ceil(panels / max(1, MAX_SUMS_BYTES // (4 * COMPONENTS * (c_in + 1) * tiles.columns)))
    most = min(math.ceil(panels / parts) * tiles.columns, c_out)  # output channels of a part
    h_out, w_out = window.out
    count = n * -(-h_out // 4) * -(-w_out // 4)
    fitting = max(1, SCRATCH_BYTES // (4 * COMPONENTS * (c_in + most)) - 1)
    block = min(fitting, -(-count // threads))
    if count < threads or parts > MAX_PARTS or 0 < c_out % most < tiles.width:
        return False
    if not _is_faster(tiles, n * h_out * w_out, count, block, threads, parts, c_in, c_out):
        return False
    sums_size = COMPONENTS * (c_in + 1) * -(-most // tiles.step) * tiles.step
    sums = lowering.scratch(4 * sums_size * threads)
    size = (
        2 * kernels.ARGUMENT_WORDS
        + ((block + 1) | 1) * COMPONENTS * (c_in + most)
        + max(36 * c_in, 16 * most)
        + tiles.width
    )
    size += -size % 16
    scratch = lowering.scratch(4 * size * threads)
    for first in range(0, c_out, most):
        some = min(most, c_out - first)
        lowering.emit(
            kernels.f32_winograd_weight_products, x=x, grad_y=grad_y + 4 * first, dy_stride=c_out, sums=sums, sums_size=sums_size,
            scratch=scratch, scratch_size=size, product=FnRef("f32_conv_weight_grad"),
            n=n, h=h, w=w, c_in=c_in, h_out=h_out, w_out=w_out, c_out=some,
            pad_top=window.pads_begin[0], pad_left=window.pads_begin[1], block=block,
        )  # fmt: skip
        lowering.emit(
            kernels.f32_winograd_weight_taps, sums=sums, sums_size=sums_size, shares=threads,
            target=target + 4 * first * 9 * c_in, c_in=c_in, c_out=some,
        )  # fmt: skip
    return True


def _is_faster(
    tiles: Tiles, pixels: int, count: int, block: int, threads: int, parts: int, c_in: int, c_out: int
) -> bool:
    """Whether clearly fewer vector operations are needed than in the direct form; count: tiles."""
    inputs, outputs = c_in / tiles.width, math.ceil(c_out / tiles.width)
    blocks = max(threads, -(-count // block))
    products = COMPONENTS * c_in * outputs * (count + SUMS_COST * blocks)
    transforms = (
        count * (TRANSFORM_COST[4][0] * inputs * parts + GRADIENT_COST * outputs) + threads * TAPS_COST * c_in * outputs
    )
    return 1.2 * (products + transforms) < pixels * 9 * c_in * outputs
