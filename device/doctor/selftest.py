"""Test the kernels: small networks through the engine, compared with NumPy.

Runs in a child process: a kernel that does not fit the processor kills it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import find


def results() -> list[dict[str, Any]]:
    """One object per case: name, largest error, tolerance, ok. The sizes leave tails beside every tile."""
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((37, 65), (65, 43)))
    x = rng.standard_normal((1, 13, 11, 19)).astype(np.float32)  # (N, H, W, C)
    one, three = (rng.standard_normal((21, k, k, 19)).astype(np.float32) for k in (1, 3))
    each = rng.standard_normal((19, 3, 3, 1)).astype(np.float32)
    same = {"pads": [1, 1, 1, 1]}
    cases = [
        _case("matrix product", "MatMul", a, b, {}, a.astype(np.float64) @ b),
        _case("1x1 convolution", "Conv", x, one, {}, _convolve(x, one)),
        _case("3x3 convolution", "Conv", x, three, same, _convolve(x, three)),
        _case("depthwise convolution", "Conv", x, each, {**same, "group": 19}, _depthwise(x, each)),
    ]
    return [*cases, _threads(x, three)]


def _case(name: str, op: str, x: Array, weight: Array, attrs: dict[str, Any], expected: Array) -> dict[str, Any]:
    """Run one node with a constant weight."""
    got = _run(op, x, weight, attrs, threads=1)
    terms = weight.size // expected.shape[-1]
    tolerance = float(4e-6 * np.sqrt(terms) * max(1.0, np.abs(expected).max()))  # Winograd's sums lose two bits more
    error = float(np.abs(got - expected).max()) if got.shape == expected.shape else float("inf")
    return {"name": name, "error": error, "tolerance": tolerance, "ok": bool(error <= tolerance)}


def _threads(x: Array, weight: Array) -> dict[str, Any]:
    """All cores must give what one gives."""
    alone, together = (_run("Conv", x, weight, {"pads": [1, 1, 1, 1]}, threads) for threads in (1, None))
    error = float(np.abs(alone - together).max())
    return {"name": "all threads", "error": error, "tolerance": 1e-5, "ok": bool(error <= 1e-5)}


def _run(op: str, x: Array, weight: Array, attrs: dict[str, Any], threads: int | None) -> Array:
    node = Node(op, ("x", "w"), ("y",), find(op, "self-test").make_attrs(attrs, "self-test"))
    graph = Graph("self-test", {"x": TensorSpec.of(x)}, ("y",), (node,), Arrays(w=weight))
    return Model(graph, threads).run({"x": x})["y"]


def _convolve(x: Array, weight: Array) -> Array:
    """(N, H, W, C) with (C_OUT, K, K, C), stride 1, borders of zeros, in float64."""
    k = weight.shape[1]
    out: Array = np.zeros((*x.shape[:3], weight.shape[0]))
    for i, j, window in _windows(x, k):
        out += window @ weight[:, i, j].T.astype(np.float64)
    return out


def _depthwise(x: Array, weight: Array) -> Array:
    """(N, H, W, C) with (C, K, K, 1): every channel by itself."""
    out: Array = np.zeros(x.shape)
    for i, j, window in _windows(x, weight.shape[1]):
        out += window * weight[:, i, j, 0]
    return out


def _windows(x: Array, k: int) -> list[tuple[int, int, Array]]:
    """The image as each of the k x k weights sees it."""
    border = k // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (border, border), (border, border), (0, 0)))
    height, width = x.shape[1:3]
    return [(i, j, padded[:, i : i + height, j : j + width]) for i in range(k) for j in range(k)]
