"""Sliding windows with attributes drawn at random, by kernels and by references: no rule may test half of its conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime.errors import ShapeError
from alula.runtime.graph import Arrays, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import find
from alula.runtime.planning.reference import evaluate

CHUNKS, PER_CHUNK = 10, 60
OPS = ("Conv", "ConvTranspose", "ConvWeightGrad", "MaxPool", "AveragePool")
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 20, 24, 31, 33)


def drawn(rng: np.random.Generator) -> tuple[Node, dict[str, Any], tuple[str, ...]]:
    """A node, its inputs, and which of them are constants."""
    op = str(rng.choice(OPS))
    rank = int(rng.choice((1, 2, 2, 2)))
    one = rng.random() < 0.3
    kernel = tuple(int(k) for k in (1,) * rank if one) or tuple(int(k) for k in rng.integers(1, 4, rank))
    strides = tuple(int(s) for s in rng.choice((1, 1, 2, 3), rank))
    if rng.random() < 0.3:
        strides = kernel
    dilations = tuple(int(d) for d in rng.choice((1, 1, 1, 2), rank))
    pads = tuple(int(p) for p in rng.choice((0, 0, 1, 2), 2 * rank))
    spatial = tuple(int(s) for s in rng.integers(1, 11, rank))
    n, c = int(rng.integers(1, 4)), int(rng.choice(CHANNELS))
    attrs: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": pads}
    if rng.random() < 0.2:
        attrs |= {"auto_pad": str(rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))), "pads": ()}
    x = rng.standard_normal((n, *spatial, c)).astype(np.float32)
    if op.endswith("Pool"):
        attrs |= {"kernel_shape": kernel, "ceil_mode": int(rng.integers(2))}
        attrs |= {"count_include_pad": int(rng.integers(2))} if op == "AveragePool" else {}
        return Node(op, ("x",), ("y",), find(op, "y").make_attrs(attrs, "y")), {"x": x}, ()
    divisors = [d for d in range(1, c + 1) if c % d == 0]
    group = c if rng.random() < 0.25 else int(rng.choice(divisors)) if rng.random() < 0.5 else 1
    others = group * (int(rng.choice((1, 1, 2))) if group > 1 else int(rng.choice(CHANNELS)))
    attrs["group"] = group
    if op == "ConvTranspose":
        shape, size = (c, *kernel, others // group), others
        if rng.random() < 0.5 and not attrs.get("auto_pad"):
            attrs["output_padding"] = tuple(
                int(rng.integers(0, max(s, d))) for s, d in zip(strides, dilations, strict=True)
            )
    else:
        shape, size = (others, *kernel, c // group), others
    values = {"x": x, "w": rng.standard_normal(shape).astype(np.float32)}
    if op == "ConvWeightGrad":
        attrs["kernel_shape"] = kernel
        conv = Node("Conv", ("x", "w"), ("y",), find("Conv", "y").make_attrs(attrs, "y"))
        values["w"] = np.ones_like(evaluate(_graph(conv, values, ()), values)["y"]) * rng.standard_normal(size).astype(
            np.float32
        )
    elif rng.random() < 0.5:
        values["b"] = rng.standard_normal(size).astype(np.float32)
    constants = tuple(values)[1:] if op != "ConvWeightGrad" and rng.random() < 0.8 else ()
    return Node(op, tuple(values), ("y",), find(op, "y").make_attrs(attrs, "y")), values, constants


def _graph(node: Node, values: dict[str, Any], constants: tuple[str, ...]) -> Graph:
    inputs = {name: TensorSpec.of(value) for name, value in values.items() if name not in constants}
    return Graph("windows", inputs, node.outputs, (node,), Arrays({name: values[name] for name in constants}))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_kernels_are_the_references_whatever_the_window(chunk: int) -> None:
    compared = 0
    for number in range(PER_CHUNK):
        rng = np.random.default_rng((chunk, number))
        try:
            node, values, constants = drawn(rng)
            graph = _graph(node, values, constants)
            given = {name: values[name] for name in graph.inputs}
            expected = evaluate(graph, given)["y"]
        except ShapeError:
            continue  # the window does not fit the image
        got = Model(graph, threads=1 + number % 2).run(given)["y"]
        scale = max(
            float(np.abs(expected[np.isfinite(expected)]).max(initial=0)), 1.0
        )  # a window of padding alone has -inf
        tolerance = 1e-5 * scale * np.sqrt(values.get("w", expected).size)
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance, err_msg=f"{number}: {node}")
        compared += 1
    assert compared > PER_CHUNK // 2
