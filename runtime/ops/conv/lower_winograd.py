"""Which 3x3 convolutions use Winograd's filtering, and with which tile size."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from alula.runtime.graph import Array, Node
from alula.runtime.kernels.memory import LINE
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.aligned import aligned_empty
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.conv import kernel_winograd as kernels
from alula.runtime.ops.conv import kernel_winograd_weights as weight_kernels
from alula.runtime.ops.conv.lower_product import bias_ref, pack_panels
from alula.runtime.ops.elementwise.lower import Epilogue
from alula.runtime.ops.window import Window
from alula.runtime.planning.lowering import Lowering, Ref

# G of F(2, 3) and of F(4, 3): what filters are multiplied with
FILTER_TRANSFORM = {
    2: np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
}
# Vector operations of the two transforms per tile and per vector of channels, loads and stores included
TRANSFORM_COST = {2: (32 + 32, 24 + 32), 4: (144 + 72, 100 + 72)}
SCRATCH_BYTES = 1 << 18  # of transformed tiles, per thread

MAX_FILTER_BYTES = 3 << 17  # of transformed filters that change; larger ones go in two parts, for memory and the cache

# The transform of a filter that changes: vector operations per input channel and vector of output channels
FILTER_COST = {2: 32 + 9 + 16, 4: 80 + 9 + 36}


def lower_winograd(
    lowering: Lowering, node: Node, window: Window, image: tuple[int, ...], tail: Epilogue,
    transformed: Callable[[int, int, int], Ref] | None = None,
) -> bool:  # fmt: skip
    """Emit the kernel if it is faster than the direct form.

    transformed : for filters that change, transforms them in every run: of tiles of m x m, those for `count` output
                  channels from `first` on, the beginning of a panel; gives their address
    """
    tiles, threads = lowering.tiles, lowering.n_threads
    n, h, w, c_in = image
    c_out = lowering.spec(node.outputs[0]).dims[-1]
    if (
        window.kernel != (3, 3)
        or window.strides != (1, 1)
        or window.dilations != (1, 1)
        or min(c_in, c_out) < tiles.width
    ):
        return False
    m = choose_size(window.out, c_in, c_out, tiles, n if transformed else 0)
    if m is None:
        return False
    h_out, w_out = window.out
    count = n * -(-h_out // m) * -(-w_out // m)
    components = (m + 2) ** 2
    most = channels_of_part(count, c_in, c_out, components, tiles) if transformed else c_out
    columns = -(-most // tiles.step) * tiles.step
    fitting = SCRATCH_BYTES // (4 * components * (c_in + columns))
    block = max(tiles.rows, fitting // tiles.rows * tiles.rows)
    block = max(1, min(block, -(-count // threads)))
    blocks = -(-count // block)
    kept = -(-blocks // threads) * -(-count // blocks) if most < c_out else 0
    size = (
        2 * (tiles.rows + 8)
        + components * (max(block, kept) * c_in + block * columns + 2 * tiles.width + c_in)
        + m * m * most
        + tiles.width
    )
    size += -size % 16
    scratch = lowering.scratch(4 * size * threads)
    bias = bias_ref(lowering, node.inputs[2] if len(node.inputs) > 2 else "", c_out)
    for first in range(0, c_out, most):
        some = min(most, c_out - first)
        if transformed:
            weight = transformed(m, first, some)
        else:
            weight = lowering.packed(node.inputs[1], Packing("winograd", lambda f: pack_filters(f, m, tiles), (m,)))
        lowering.emit(
            kernels.f32_winograd, x=lowering.ref(node.inputs[0]),
            weight=weight, component=component_size(c_in, some, tiles), bias=bias + 4 * first,
            y=lowering.ref(node.outputs[0]), scratch=scratch, scratch_size=size,
            n=n, h=h, w=w, c_in=c_in, h_out=h_out, w_out=w_out, c_out=some, y_pixel=c_out, first_channel=first,
            pad_top=window.pads_begin[0], pad_left=window.pads_begin[1], m=m, block=block,
            kept=kept, fresh=int(first == 0), low=tail.low, high=tail.high,
            ahead=0, ahead_lines=0, later=0, later_lines=0, epilogue=tail.kernel, epilogue_stages=tail.stages,
        )  # fmt: skip
    return True


def channels_of_part(count: int, c_in: int, c_out: int, components: int, tiles: Tiles) -> int:
    """Of how many output channels the transformed filters are in memory together; count: tiles of all images.

    Half, where all would fill the cache, and the transformed inputs, which stay for both parts, are about as many at most.
    """
    half = -(-c_out // 2 // tiles.columns) * tiles.columns
    large = 4 * components * c_in * c_out > MAX_FILTER_BYTES and count <= half
    return half if large and c_out - half >= tiles.width else c_out


def transform_filters(lowering: Lowering, panels: Ref, c_in: int, c_out: int, m: int, first: int, count: int) -> Ref:
    """The filters that lie in panels of (9 * c_in, c_out), transformed in every run; `count` of c_out from a panel's `first` on."""
    component = component_size(c_in, count, lowering.tiles)
    target = lowering.scratch(4 * (m + 2) ** 2 * component)
    lowering.emit(
        weight_kernels.f32_winograd_weights, source=panels + 4 * 9 * c_in * first, target=target, component=component,
        c_in=c_in, c_out=count, m=m,
    )  # fmt: skip
    return target


def transform_transposed_filters(
    lowering: Lowering, panels: Ref, c_in: int, c_out: int, m: int, first: int, count: int
) -> Ref:
    """The same for the transposed convolution, which reads c_out channels and makes `count` of c_in from `first` on."""
    tiles = lowering.tiles
    component = component_size(c_out, count, tiles)
    target = lowering.scratch(4 * (m + 2) ** 2 * component)
    lowering.emit(
        weight_kernels.f32_winograd_transposed_weights, source=panels, target=target,
        scratch=lowering.scratch(4 * 9 * tiles.step * tiles.width * lowering.n_threads), component=component, c_in=c_in,
        c_out=c_out, first=first, count=count, m=m,
    )  # fmt: skip
    return target


def component_size(c_in: int, c_out: int, tiles: Tiles) -> int:
    """Elements from one component's matrix to the next; a line more, so that they do not share one set of the cache."""
    return c_in * -(-c_out // tiles.step) * tiles.step + LINE


def choose_size(out: tuple[int, ...], c_in: int, c_out: int, tiles: Tiles, images: int = 0) -> int | None:
    """Tile size 2 or 4, or None where the direct form needs fewer vector operations.

    images : over how many the transform of the filters is shared; 0 if it costs nothing, because they never change
    """
    inputs, outputs = c_in / tiles.width, math.ceil(c_out / tiles.width)
    costs: dict[int | None, float] = {None: out[0] * out[1] * 9 * c_in * outputs}
    for m, (forward, backward) in TRANSFORM_COST.items():
        count = math.ceil(out[0] / m) * math.ceil(out[1] / m)
        costs[m] = count * ((m + 2) ** 2 * (c_in + 2) * outputs + forward * inputs + backward * outputs)
        if images:
            costs[m] += FILTER_COST[m] * c_in * outputs / images
    return min(costs, key=lambda m: costs[m])


def pack_filters(filters: Array, m: int, tiles: Tiles) -> Array:
    """(C_OUT, 3, 3, C_IN) as (m + 2) ** 2 matrices (C_IN, C_OUT), each in panels; computed in float64."""
    g = FILTER_TRANSFORM[m]
    c_out, c_in = filters.shape[0], filters.shape[3]
    rows = np.tensordot(g, filters.astype(np.float64), (1, 1))  # (A, C_OUT, 3, C_IN)
    full = np.tensordot(g, rows, (1, 2)).transpose(1, 0, 3, 2)  # (A, B, C_IN, C_OUT)
    matrices = full.reshape(len(g) ** 2, c_in, c_out).astype(np.float32)
    size = component_size(c_in, c_out, tiles)
    packed = aligned_empty(len(matrices) * size)
    packed[:] = 0
    for i, matrix in enumerate(matrices):
        pack_panels(matrix, tiles, packed[i * size : (i + 1) * size - LINE])
    return packed
