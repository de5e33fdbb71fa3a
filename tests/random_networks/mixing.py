"""Blocks that join or part tensors: sums of branches, concatenation, gates, slices, changes of layout."""

from __future__ import annotations

import math

from tests.random_networks.draw import CHANNELS, Draw


def _branch(draw: Draw, x: str, c_out: int) -> str:
    """A small convolution of x that keeps its size."""
    c, spatial = draw.shapes[x][1], draw.shapes[x][2:]
    kernel = [min(draw.number(1, 3), n) for n in spatial]
    weight = draw.weight("conv.w", (c_out, c, *kernel), c * math.prod(kernel))
    bias = [draw.vector("conv.b", c_out)] if draw.chance(0.5) else []
    return draw.node("Conv", [x, weight, *bias], auto_pad="SAME_UPPER")


def residual(draw: Draw) -> bool:
    """x + f(x), also where one of the two is only one channel, row or pixel wide."""
    x, c, kind = draw.x, draw.dims[1], draw.number(0, 4)
    if kind <= 1:
        y = draw.node(draw.pick(("Relu", "Tanh", "HardSwish")), [_branch(draw, x, c)])
        y = _branch(draw, y, c)
    elif kind == 2:
        y = _branch(draw, x, 1)
    elif kind == 3:
        y = draw.node("GlobalAveragePool", [x])
    else:
        y = draw.node("ReduceMean", [x, draw.ints("axes", [draw.number(2, draw.rank - 1)])], keepdims=1)
    draw.x = draw.node(draw.pick(("Add", "Add", "Sub", "Mul", "Max")), [x, y] if draw.chance(0.5) else [y, x])
    return True


def concat(draw: Draw) -> bool:
    """Branches laid side by side, along the channels or a spatial axis."""
    x, c = draw.x, draw.dims[1]
    axis = 1 if draw.chance(0.6) else draw.number(1, draw.rank - 1)
    parts = [x] if draw.chance(0.5) else []
    for _ in range(draw.number(1, 2) + (not parts)):
        parts.append(_branch(draw, x, draw.pick(CHANNELS[:10]) if axis == 1 else c))
    if draw.chance(0.15):
        parts.append(parts[-1])
    draw.x = draw.node("Concat", parts, axis=axis if draw.chance(0.7) else axis - draw.rank)
    return True


def squeeze_excite(draw: Draw) -> bool:
    """Channels weighted by what the mean image says."""
    x, c = draw.x, draw.dims[1]
    few, ones = max(1, c // draw.pick((1, 2, 4))), [1] * len(draw.spatial)
    if draw.chance(0.7):
        y = draw.node("GlobalAveragePool", [x])
    else:
        y = draw.node("ReduceMean", [x, draw.ints("axes", list(range(2, draw.rank)))], keepdims=1)
    y = draw.node("Conv", [y, draw.weight("conv.w", (few, c, *ones), c), draw.vector("conv.b", few)])
    y = draw.node(draw.pick(("Relu", "Tanh", "HardSwish")), [y])
    y = draw.node("Conv", [y, draw.weight("conv.w", (c, few, *ones), few), draw.vector("conv.b", c)])
    gate = draw.node(draw.pick(("Sigmoid", "HardSigmoid")), [y])
    draw.x = draw.node("Mul", [x, gate] if draw.chance(0.7) else [gate, x])
    return True


def cut(draw: Draw) -> bool:
    """Slice along one or two axes, also backwards or by steps."""
    axes = [draw.number(1, draw.rank - 1)]
    if draw.rank > 3 and draw.chance(0.3):
        axes = sorted(int(axis) for axis in draw.rng.permutation(range(1, draw.rank))[:2])
    rows = []
    for axis in axes:
        n = draw.dims[axis]
        start = draw.number(0, min(2, n - 1))
        rows.append((start, draw.pick((1 << 40, n, -1 if n - start > 1 else n)), draw.pick((1, 1, 1, 2))))
        if draw.chance(0.15):
            rows[-1] = (n - 1, -n - 1, -1)
    starts, ends, steps = (list(column) for column in zip(*rows))
    names = [draw.ints("starts", starts), draw.ints("ends", ends), draw.ints("axes", axes)]
    if set(steps) != {1} or draw.chance(0.3):
        names.append(draw.ints("steps", steps))
    draw.then("Slice", *names)
    return True


def split(draw: Draw) -> bool:
    """Split in two along an axis; the parts are joined by a product (a gated unit) or the other way round."""
    axes = [axis for axis in range(1, draw.rank) if draw.dims[axis] >= 2]
    if not axes:
        return False
    axis = draw.pick(axes)
    n = draw.dims[axis]
    if n % 2 == 0 and draw.chance(0.6):
        a, b = draw.nodes_of("Split", [draw.x], 2, axis=axis, num_outputs=2)
        draw.x = draw.node("Mul", [a, draw.node("Sigmoid", [b])])
        return True
    first = draw.number(1, n - 1)
    a, b = draw.nodes_of("Split", [draw.x, draw.ints("split", [first, n - first])], 2, axis=axis)
    draw.x = draw.node("Concat", [draw.node("Relu", [b]), a], axis=axis)
    return True


def shuffle(draw: Draw) -> bool:
    """Channels shuffled by Reshape, Transpose and Reshape, as in ShuffleNet; or two spatial axes swapped."""
    _, c, *spatial = draw.dims
    groups = [g for g in range(2, c) if c % g == 0]
    if groups and draw.chance(0.7):
        g = draw.pick(groups)
        draw.then("Reshape", draw.ints("shape", [0, g, c // g, *spatial]))
        draw.then("Transpose", perm=[0, 2, 1, *range(3, draw.rank)])
        draw.then("Reshape", draw.ints("shape", [0, c if draw.chance(0.5) else -1, *spatial]))
    elif len(spatial) == 2:
        draw.then("Transpose", perm=[0, 1, 3, 2])
    else:
        return False
    return True


def pointwise_product(draw: Draw) -> bool:
    """Each pixel's channels times a matrix: Transpose, MatMul, Transpose, as in ConvNeXt."""
    rank, c, c_out = draw.rank, draw.dims[1], draw.pick(CHANNELS)
    draw.then("Transpose", perm=[0, *range(2, rank), 1])
    draw.then("MatMul", draw.weight("matmul.w", (c, c_out), c))
    if draw.chance(0.7):
        draw.then("Add", draw.vector("matmul.b", c_out))
    draw.then("Transpose", perm=[0, rank - 1, *range(1, rank - 1)])
    return True


BLOCKS = {
    residual: 2.5, concat: 2.0, squeeze_excite: 1.0, cut: 1.0, split: 1.0, shuffle: 0.8, pointwise_product: 0.6,
}  # fmt: skip
