"""Blocks of normalisations: of the batch, layers, instances, groups, and those that exporters write out."""

from __future__ import annotations

import math

import numpy as np

from tests.random_networks.draw import CONSTANT, STATISTIC, WEIGHT, Draw

FEWEST_VALUES = 12  # that statistics are taken of: over fewer, float32 is far from float64


def _around_one(draw: Draw, shape: tuple[int, ...], role: str) -> str:
    return draw.add("norm.scale", (1 + 0.2 * draw.rng.standard_normal(shape)).astype(np.float32), role)


def _affine(draw: Draw, count: int) -> tuple[str, str]:
    return _around_one(draw, (count,), WEIGHT), draw.vector("norm.b", count)


def _batch_inputs(draw: Draw) -> list[str]:
    c = draw.dims[1]
    mean = draw.vector("bn.mean", c, spread=0.3, role=STATISTIC)
    var = draw.add("bn.var", (0.5 + draw.rng.random(c)).astype(np.float32), STATISTIC)
    return [*_affine(draw, c), mean, var]


def _enough(draw: Draw) -> bool:
    return not draw.trains or draw.batch * math.prod(draw.dims[2:]) >= FEWEST_VALUES


def batch_norm(draw: Draw) -> bool:
    """BatchNormalization, with and without spatial axes."""
    if not _enough(draw):
        return False
    attrs = {"epsilon": draw.pick((1e-5, 1e-3))}
    if draw.chance(0.3):
        attrs["momentum"] = draw.pick((0.8, 0.99))
    draw.then("BatchNormalization", *_batch_inputs(draw), **attrs)
    return True


def shared_batch_norm(draw: Draw) -> bool:
    """One BatchNormalization's parameters, used by two nodes."""
    if not _enough(draw):
        return False
    inputs = _batch_inputs(draw)
    draw.then("BatchNormalization", *inputs)
    draw.then(draw.pick(("Sigmoid", "Tanh")))
    draw.then("BatchNormalization", *inputs)
    return True


def layer_norm(draw: Draw) -> bool:
    """LayerNormalization over one or several of the last axes."""
    axis = draw.rank - 1 if draw.chance(0.6) else draw.number(1, draw.rank - 1)
    shape = draw.dims[axis:]
    if math.prod(shape) < 4:
        return False
    inputs = [_around_one(draw, shape, WEIGHT)]
    if draw.chance(0.7):
        inputs.append(draw.weight("norm.b", shape, 20.0))
    draw.then("LayerNormalization", *inputs, axis=axis if draw.chance(0.5) else axis - draw.rank)
    return True


def instance_norm(draw: Draw) -> bool:
    """InstanceNormalization."""
    if draw.rank < 3 or math.prod(draw.spatial) < FEWEST_VALUES:
        return False
    draw.then("InstanceNormalization", *_affine(draw, draw.dims[1]))
    return True


def group_norm(draw: Draw) -> bool:
    """GroupNormalization of opset 21."""
    c, pixels = draw.dims[1], math.prod(draw.spatial)
    groups = [g for g in range(1, c + 1) if c % g == 0 and c // g * pixels >= FEWEST_VALUES]
    if draw.rank < 3 or not groups:
        return False
    draw.then("GroupNormalization", *_affine(draw, c), num_groups=draw.pick(groups))
    return True


def written_out(draw: Draw) -> bool:
    """A layer normalisation, or one by the root mean square, as exporters write it: mean, power, root, quotient."""
    axis = draw.rank - 1 if draw.chance(0.6) or draw.rank < 3 else 1
    if draw.dims[axis] < 4:
        return False
    x, axes = draw.x, draw.ints("axes", [axis if draw.chance(0.5) else axis - draw.rank])
    centred = x if draw.chance(0.5) else draw.node("Sub", [x, draw.node("ReduceMean", [x, axes], keepdims=1)])
    if draw.chance(0.5):
        square = draw.node("Pow", [centred, draw.scalar("two", 2)])
    else:
        square = draw.node("Mul", [centred, centred])
    power = draw.node("ReduceMean", [square, axes], keepdims=1)
    root = draw.node("Sqrt", [draw.node("Add", [power, draw.scalar("epsilon", 1e-4)])])
    draw.x = draw.node("Div", [centred, root])
    shape = (draw.dims[axis], *[1] * (draw.rank - 1 - axis))
    draw.then("Mul", _around_one(draw, shape, CONSTANT))
    if draw.chance(0.5):
        draw.then("Add", draw.weight("norm.b", shape, 20.0, CONSTANT))
    return True


IMAGE = {
    batch_norm: 4.0, shared_batch_norm: 0.6, layer_norm: 1.2, instance_norm: 0.8, group_norm: 1.0, written_out: 1.0,
}  # fmt: skip
FLAT = {batch_norm: 1.0, layer_norm: 1.0, written_out: 0.6, shared_batch_norm: 0.3}
SEQUENCE = {layer_norm: 2.0, written_out: 1.0}
