"""Blocks of matrix products on (N, F): Gemm in all its forms, MatMul, weights that are shared, tied or transposed."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.random_networks.draw import CHANNELS, WEIGHT, Draw


def _bias(draw: Draw, n: int) -> list[str]:
    """C of a Gemm: (n,), (1, n), (1,), a scalar, or none."""
    shape = draw.pick(((n,), (n,), (n,), (1, n), (1,), (), None))
    if shape is None:
        return []
    return [draw.add("gemm.b", (0.2 * draw.rng.standard_normal(shape)).astype(np.float32), WEIGHT)]


def gemm(draw: Draw) -> bool:
    """One Gemm."""
    k, n = draw.dims[1], draw.pick(CHANNELS)
    attrs: dict[str, Any] = {}
    if draw.chance(0.25):
        attrs["alpha"] = draw.pick((0.5, 1.5))
    bias = _bias(draw, n)
    if bias and draw.chance(0.25):
        attrs["beta"] = draw.pick((0.5, 2.0))
    transposed = draw.chance(0.6)
    weight = draw.weight("gemm.w", (n, k) if transposed else (k, n), k)
    if transposed:
        attrs["transB"] = 1
    if draw.chance(0.15):
        draw.then("Transpose", perm=[1, 0])
        attrs["transA"] = 1
    draw.then("Gemm", weight, *bias, **attrs)
    return True


def gemm_from_the_left(draw: Draw) -> bool:
    """A Gemm whose first operand is the weight, and the transpose of what it gives."""
    k, n = draw.dims[1], draw.pick(CHANNELS)
    transposed = draw.chance(0.5)
    weight = draw.weight("gemm.w", (k, n) if transposed else (n, k), k)
    draw.x = draw.node("Gemm", [weight, draw.x], transA=int(transposed), transB=1)
    draw.then("Transpose", perm=[1, 0])
    return True


def matmul(draw: Draw) -> bool:
    """MatMul, with an Add for the bias in most cases."""
    k, n = draw.dims[-1], draw.pick(CHANNELS)
    draw.then("MatMul", draw.weight("matmul.w", (k, n), k))
    if draw.chance(0.7):
        bias = draw.vector("matmul.b", n)
        draw.x = draw.node("Add", [bias, draw.x] if draw.chance(0.4) else [draw.x, bias])
    return True


def shared_gemm(draw: Draw) -> bool:
    """One square weight in two products; also the bias."""
    k = draw.dims[1]
    inputs = [draw.weight("shared.w", (k, k), k)] + ([draw.vector("shared.b", k)] if draw.chance(0.6) else [])
    transposed = int(draw.chance(0.5))
    draw.then("Gemm", *inputs, transB=transposed)
    draw.then(draw.pick(("Relu", "Tanh")))
    draw.then("Gemm", *inputs, transB=transposed if draw.chance(0.6) else 1 - transposed)
    return True


def tied(draw: Draw) -> bool:
    """An autoencoder: the same weight forth and, transposed, back; by transB or by a Transpose node."""
    k, n = draw.dims[1], draw.pick(CHANNELS)
    weight = draw.weight("tied.w", (k, n), k)
    if draw.chance(0.5):
        draw.then("Gemm", weight, *_bias(draw, n))
    else:
        draw.then("MatMul", weight)
    draw.then(draw.pick(("Tanh", "Sigmoid")))
    if draw.chance(0.5):
        draw.then("Gemm", weight, *_bias(draw, k), transB=1)
    else:
        draw.then("MatMul", draw.node("Transpose", [weight], perm=[1, 0]))
    return True


def transposed_weight(draw: Draw) -> bool:
    """A product with the Transpose of an initializer, as torch's linear layers are exported."""
    k, n = draw.dims[-1], draw.pick(CHANNELS)
    weight = draw.node("Transpose", [draw.weight("linear.w", (n, k), k)], perm=[1, 0])
    draw.then("MatMul", weight)
    if draw.chance(0.7):
        draw.then("Add", draw.vector("linear.b", n))
    return True


def residual(draw: Draw) -> bool:
    """x + f(x) of two products."""
    x, k, n = draw.x, draw.dims[-1], draw.pick(CHANNELS)
    draw.then("MatMul", draw.weight("matmul.w", (k, n), k))
    draw.then(draw.pick(("Relu", "Gelu", "Tanh")))
    draw.then("MatMul", draw.weight("matmul.w", (n, k), n))
    draw.x = draw.node("Add", [x, draw.x])
    return True


BLOCKS = {
    gemm: 5.0, gemm_from_the_left: 0.6, matmul: 1.5, shared_gemm: 0.8, tied: 1.2, transposed_weight: 0.7, residual: 0.6,
}  # fmt: skip
IN_SEQUENCES = {matmul: 1.5, transposed_weight: 0.5, residual: 1.0}
