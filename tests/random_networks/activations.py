"""Blocks of activations, and of arithmetic with constants."""

from __future__ import annotations

import numpy as np

from tests.random_networks.draw import CONSTANT, WEIGHT, Draw

PLAIN = ("Relu", "Relu", "Relu", "Sigmoid", "Tanh", "Softplus", "HardSwish", "Mish")


def activation(draw: Draw) -> bool:
    """One activation, with its attributes."""
    kind = draw.number(0, 12)
    if kind < 5:
        draw.then(draw.pick(PLAIN))
    elif kind == 5:
        draw.then("LeakyRelu", alpha=draw.pick((0.01, 0.2)))
    elif kind == 6:
        draw.then("Elu", alpha=draw.pick((1.0, 0.7)))
    elif kind == 7:
        draw.then("HardSigmoid", **({"alpha": 1 / 6, "beta": 0.5} if draw.chance(0.5) else {}))
    elif kind == 8:
        draw.then("Gelu", approximate=draw.pick(("none", "tanh")))
    elif kind == 9:
        bounds = [draw.scalar("bound", value) for value in draw.pick(((0, 6), (-1, 1), (-0.5, 2)))]
        draw.then("Clip", *bounds[: 2 if draw.chance(0.7) else 1])
    elif kind == 10:
        shape = (draw.dims[1], *[1] * (draw.rank - 2)) if draw.chance(0.7) else (1,) * max(draw.rank - 1, 1)
        if draw.rank == 3 and draw.chance(0.3):
            shape = (draw.dims[2],)
        slope = 0.25 + 0.1 * draw.rng.standard_normal(shape)
        draw.then("PRelu", draw.add("prelu.slope", slope.astype(np.float32), WEIGHT))
    elif kind == 11:
        gate = draw.node(draw.pick(("Sigmoid", "HardSigmoid")), [draw.x])
        draw.x = draw.node("Mul", [draw.x, gate])
    else:
        draw.then("Softmax", axis=draw.number(1, draw.rank - 1) if draw.chance(0.6) else -1)
    return True


def arithmetic(draw: Draw) -> bool:
    """A sum, product, difference or quotient with a constant that broadcasts."""
    shapes = [(), (1,), (draw.dims[-1],), (draw.dims[1], *[1] * (draw.rank - 2)), (1, *draw.dims[1:])]
    shape = draw.pick(shapes)
    op = draw.pick(("Add", "Mul", "Sub", "Div"))
    value = (0.2 * draw.rng.standard_normal(shape) + (op == "Mul")).astype(np.float32)
    if op == "Div":
        value = np.abs(value) + np.float32(0.6)
    constant = draw.add("const", value, CONSTANT)
    swap = op != "Div" and draw.chance(0.4)
    draw.x = draw.node(op, [constant, draw.x] if swap else [draw.x, constant])
    return True


def unary(draw: Draw) -> bool:
    """A function of each element whose values stay small."""
    kind = draw.number(0, 4)
    if kind == 0:
        draw.then(draw.pick(("Erf", "Neg")))
    elif kind == 1:
        draw.then("Abs")
    elif kind == 2:
        draw.x = draw.node("Exp", [draw.node("Tanh", [draw.x])])
    elif kind == 3:
        draw.x = draw.node("Log", [draw.node("Add", [draw.node("Abs", [draw.x]), draw.scalar("one", 1)])])
    else:
        square = draw.node("Mul", [draw.x, draw.x])
        draw.x = draw.node("Sqrt", [draw.node("Add", [square, draw.scalar("one", 1)])])
    return True


BLOCKS = {activation: 9.0, arithmetic: 1.5, unary: 0.8}
