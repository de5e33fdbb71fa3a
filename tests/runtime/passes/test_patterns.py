"""Activations and normalisations are found in the arithmetic that exporters write for them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from alula.runtime.graph import TensorSpec
from alula.runtime.passes.gelu import fuse_gelu
from alula.runtime.passes.hard_swish import fuse_hard_swish
from alula.runtime.passes.layer_norm import fuse_layer_norm
from alula.runtime.passes.softmax import straighten_softmax
from alula.runtime.passes.swish import fuse_swish
from tests.runtime.passes.networks import SIZES, Builder, difference, image, ops_of


def _clipped(b: Builder, x: str, shift: float = 3.0, high: float = 6.0) -> str:
    return b.node("Clip", b.node("Add", x, b.constant(shift)), b.constant(0), b.constant(high))


@pytest.mark.parametrize(
    ("write", "ops"),
    [
        (lambda b, x: b.node("Div", b.node("Mul", x, _clipped(b, x)), b.constant(6)), ["HardSwish"]),
        (lambda b, x: b.node("Mul", b.node("Mul", _clipped(b, x), x), b.constant([1 / 6])), ["HardSwish"]),
        (lambda b, x: b.node("Mul", x, b.node("Div", _clipped(b, x), b.constant(6))), ["HardSwish"]),
        (lambda b, x: b.node("Mul", b.node("HardSigmoid", x, alpha=0.16666670143604279), x), ["HardSwish"]),
        (lambda b, x: b.node("Div", _clipped(b, x, 1.5, 4.0), b.constant(4)), ["HardSigmoid"]),
        (lambda b, x: _clipped(b, b.node("Mul", x, b.constant(0.3)), 0.4, 1.0), ["HardSigmoid"]),
        (lambda b, x: b.node("Mul", x, b.node("HardSigmoid", x, alpha=0.2)), ["HardSigmoid", "Mul"]),
        (
            lambda b, x: b.node("Div", b.node("Mul", x, _clipped(b, x, 2.0)), b.constant(6)),
            ["Add", "Clip", "Mul", "Div"],
        ),
        (lambda b, x: b.node("Div", b.node("Mul", x, _clipped(b, x)), b.constant(5)), ["Add", "Clip", "Mul", "Div"]),
    ],
)
def test_hard_swish_and_hard_sigmoid(write: Callable[[Builder, str], str], ops: list[str]) -> None:
    b = Builder(x=image())
    graph = b.graph(write(b, "x"))
    fused = fuse_hard_swish(graph)
    assert ops_of(fused) == ops
    assert difference(graph, fused, SIZES) < 1e-6


def test_a_pattern_is_left_alone_where_something_else_reads_from_inside() -> None:
    b = Builder(x=image())
    clipped = _clipped(b, "x")
    swish = b.node("Div", b.node("Mul", "x", clipped), b.constant(6))
    graph = b.graph(swish, clipped)
    assert fuse_hard_swish(graph).nodes == graph.nodes


@pytest.mark.parametrize("alpha", [1.0, 1.702])
def test_swish(alpha: float) -> None:
    b = Builder(x=image())
    scaled = b.node("Mul", "x", b.constant(alpha)) if alpha != 1 else "x"
    graph = b.graph(b.node("Mul", b.node("Sigmoid", scaled), "x"))
    fused = fuse_swish(graph)
    assert ops_of(fused) == ["Swish"]
    assert difference(graph, fused, SIZES) < 1e-6


def test_a_gate_of_another_tensor_is_no_swish() -> None:
    b = Builder(x=image(), y=image())
    graph = b.graph(b.node("Mul", b.node("Sigmoid", "x"), "y"))
    assert fuse_swish(graph).nodes == graph.nodes


@pytest.mark.parametrize("order", ["x half last", "half first", "half of the gate"])
def test_gelu(order: str) -> None:
    b = Builder(x=image())
    erf = b.node("Erf", b.node("Div", "x", b.constant(math.sqrt(2))))
    gate = b.node("Add", erf, b.constant(1))
    half = b.constant(0.5)
    if order == "x half last":
        y = b.node("Mul", b.node("Mul", "x", gate), half)
    elif order == "half first":
        y = b.node("Mul", b.node("Mul", "x", half), gate)
    else:
        y = b.node("Mul", "x", b.node("Mul", gate, half))
    graph = b.graph(y)
    fused = fuse_gelu(graph)
    assert ops_of(fused) == ["Gelu"]
    assert difference(graph, fused, SIZES) < 1e-6


def _layer_norm(b: Builder, axis: int, twice: bool, affine: bool) -> str:
    mean = b.node("ReduceMean", "x", b.ints(axis))
    centred = b.node("Sub", "x", mean)
    again = b.node("Sub", "x", mean) if twice else centred
    square = b.node("Mul", again, again) if twice else b.node("Pow", again, b.constant(2))
    variance = b.node("ReduceMean", square, b.ints(axis))
    y = b.node("Div", centred, b.node("Sqrt", b.node("Add", variance, b.constant(1e-3))))
    return b.node("Add", b.node("Mul", y, b.normal(6)), b.normal(6)) if affine else y


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize("axis", [-1, 2])
def test_layer_normalization(axis: int, twice: bool, affine: bool) -> None:
    b = Builder(x=TensorSpec(("batch", "tokens", 6)))
    graph = b.graph(_layer_norm(b, axis, twice, affine))
    fused = fuse_layer_norm(graph)
    assert ops_of(fused) == ["LayerNormalization"]
    assert difference(graph, fused, {"batch": 2, "tokens": 5}) < 2e-6


def test_normalisation_over_an_axis_in_the_middle_is_no_layer_normalization() -> None:
    b = Builder(x=TensorSpec(("batch", 6, 6)))
    graph = b.graph(_layer_norm(b, 1, False, True))
    assert fuse_layer_norm(graph).nodes == graph.nodes


def test_softmax_of_the_last_axis_needs_no_detour() -> None:
    b = Builder(x=image())
    shape = b.node("Shape", "x")
    rows = b.node("Softmax", b.node("Flatten", "x", axis=3), axis=-1)
    graph = b.graph(b.node("Reshape", rows, shape))
    straight = straighten_softmax(graph)
    assert "Flatten" not in ops_of(straight)
    assert difference(graph, straight, SIZES) < 1e-6


def test_softmax_over_several_axes_keeps_its_detour() -> None:
    b = Builder(x=image())
    shape = b.node("Shape", "x")
    graph = b.graph(b.node("Reshape", b.node("Softmax", b.node("Flatten", "x", axis=2), axis=-1), shape))
    assert straighten_softmax(graph).nodes == graph.nodes
