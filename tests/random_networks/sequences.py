"""Blocks on sequences (N, T, C): LSTM, GRU, attention, products with a batch of matrices, embeddings."""

from __future__ import annotations

import math

import numpy as np

from tests.random_networks.draw import CHANNELS, CONSTANT, SETTING, WEIGHT, Draw

MASKED = -1e4
HIDDEN = (1, 2, 3, 5, 8, 9, 16, 17, 24)


def embed(draw: Draw, tokens: str, vocabulary: int, c: int) -> str:
    """Rows of a table; the name of the table."""
    table = draw.weight("embedding.w", (vocabulary, c))
    draw.x = draw.node("Gather", [table, tokens], axis=0)
    return table


def _recurrent(draw: Draw, op: str, gates: int) -> bool:
    c, hidden = draw.dims[2], draw.pick(HIDDEN)
    direction = draw.pick(("forward", "reverse", "bidirectional"))
    d = 1 + (direction == "bidirectional")
    inputs = [
        draw.weight(f"{op.lower()}.w", (d, gates * hidden, c), c),
        draw.weight(f"{op.lower()}.r", (d, gates * hidden, hidden), hidden),
    ]
    if draw.chance(0.75):
        values = 0.2 * draw.rng.standard_normal((d, 2 * gates * hidden))
        inputs.append(draw.add(f"{op.lower()}.b", values.astype(np.float32), WEIGHT))
    attrs = {"hidden_size": hidden, "direction": direction}
    if op == "GRU" and draw.chance(0.5):
        attrs["linear_before_reset"] = 1
    draw.then("Transpose", perm=[1, 0, 2])
    y, last = draw.nodes_of(op, [draw.x, *inputs], 2, **attrs)
    if draw.chance(0.75):
        draw.x = draw.node("Transpose", [y], perm=[2, 0, 1, 3])  # (N, T, D, H)
        draw.then("Reshape", draw.ints("shape", [0, 0, d * hidden]))
    else:  # the last state of each direction, as a sequence of D
        draw.x = draw.node("Transpose", [last], perm=[1, 0, 2])
    return True


def lstm(draw: Draw) -> bool:
    """LSTM: all its outputs, or the last ones."""
    return _recurrent(draw, "LSTM", 4)


def gru(draw: Draw) -> bool:
    """GRU, both ways of resetting."""
    return _recurrent(draw, "GRU", 3)


def _projected(draw: Draw, x: str, n: int) -> str:
    k = draw.shapes[x][-1]
    y = draw.node("MatMul", [x, draw.weight("attention.w", (k, n), k)])
    return draw.node("Add", [y, draw.vector("attention.b", n)]) if draw.chance(0.5) else y


def attention(draw: Draw) -> bool:
    """Attention of one or two heads, perhaps under a constant mask, and a shortcut around it."""
    x, (_, t, c) = draw.x, draw.dims
    heads, width = draw.pick((1, 1, 2)), draw.pick((3, 4, 8, 9))
    parts = [_projected(draw, x, heads * width) for _ in range(3)]
    if heads > 1:
        shape = draw.ints("shape", [0, t, heads, width])
        parts = [draw.node("Transpose", [draw.node("Reshape", [p, shape])], perm=[0, 2, 1, 3]) for p in parts]
    q, k, v = parts
    axes = [0, 1, 3, 2] if heads > 1 else [0, 2, 1]
    scores = draw.node("MatMul", [q, draw.node("Transpose", [k], perm=axes)])
    if draw.chance(0.6):
        scores = draw.node("Mul", [scores, draw.scalar("scale", 1 / math.sqrt(width))])
    else:
        scores = draw.node("Div", [scores, draw.scalar("scale", math.sqrt(width))])
    if draw.chance(0.4):
        causal = np.tri(t, dtype=bool)
        if draw.chance(0.5):
            scores = draw.node(
                "Add", [scores, draw.add("mask", np.where(causal, 0, MASKED).astype(np.float32), CONSTANT)]
            )
        else:
            low = draw.scalar("masked", MASKED)
            scores = draw.node("Where", [draw.add("mask", causal, SETTING), scores, low])
    y = draw.node("MatMul", [draw.node("Softmax", [scores], axis=-1), v])
    if heads > 1:
        y = draw.node("Transpose", [y], perm=[0, 2, 1, 3])
        y = draw.node("Reshape", [y, draw.ints("shape", [0, t, heads * width])])
    draw.x = draw.node("Add", [x, _projected(draw, y, c)])
    return True


def position(draw: Draw) -> bool:
    """A table of positions that is added."""
    draw.then("Add", draw.weight("position.w", (1, *draw.dims[1:]), 20.0, CONSTANT))
    return True


def batched_matmul(draw: Draw) -> bool:
    """A product of two activations, sample by sample; or with a matrix for each position."""
    x, (_, t, c) = draw.x, draw.dims
    if draw.chance(0.5):
        gram = draw.node("MatMul", [draw.node("Transpose", [x], perm=[0, 2, 1]), x])  # (N, C, C)
        gram = draw.node("Mul", [gram, draw.scalar("scale", 1 / t)])
        draw.x = draw.node("MatMul", [draw.node("Tanh", [x]), draw.node("Tanh", [gram])])
        return True
    n = draw.pick(CHANNELS[:9])
    row = draw.node("Unsqueeze", [x, draw.ints("axes", [2])])  # (N, T, 1, C)
    y = draw.node("MatMul", [row, draw.weight("matmul.w", (t, c, n), c)])
    draw.x = draw.node("Squeeze", [y, draw.ints("axes", [2])])
    return True


def conv_along(draw: Draw) -> bool:
    """A Conv in one dimension along the sequence."""
    c, c_out, k = draw.dims[2], draw.pick(CHANNELS), min(3, draw.dims[1])
    draw.then("Transpose", perm=[0, 2, 1])
    draw.then("Conv", draw.weight("conv.w", (c_out, c, k), c * k), draw.vector("conv.b", c_out), auto_pad="SAME_UPPER")
    draw.then("Transpose", perm=[0, 2, 1])
    return True


BLOCKS = {lstm: 2.0, gru: 2.0, attention: 2.5, position: 0.4, batched_matmul: 1.0, conv_along: 0.8}
