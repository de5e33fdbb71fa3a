"""Factors and summands move into weights exactly where that is exact."""

from __future__ import annotations

from typing import Any

import pytest

from alula.runtime.graph import Graph, TensorSpec
from alula.runtime.passes.affine import fold_affine
from alula.runtime.passes.batch_norm import open_batch_norm
from alula.runtime.passes.padding import fold_pads
from tests.runtime.passes.networks import SIZES, Builder, difference, ops_of

IMAGE = TensorSpec(("batch", "height", "width", 4))
HOSTS = [
    "Conv",
    "grouped Conv",
    "depthwise Conv",
    "ConvTranspose",
    "grouped ConvTranspose",
    "Gemm",
    "transposed Gemm",
    "MatMul",
]


def _host(b: Builder, kind: str, x: str, bias: bool = True) -> str:
    """A host of 4 input and 6 (depthwise: 8) output channels."""
    if kind == "MatMul":
        return b.node("MatMul", x, b.normal(4, 6))
    if "Gemm" in kind:
        transposed = int("transposed" in kind)
        weight = b.normal(6, 4) if transposed else b.normal(4, 6)
        return b.node("Gemm", x, weight, *([b.normal(6)] if bias else []), transB=transposed, alpha=0.5, beta=2.0)
    group = 2 if "grouped" in kind else 4 if "depthwise" in kind else 1
    c_out = 8 if "depthwise" in kind else 6
    transpose = "Transpose" in kind
    weight = b.normal(4, 2, 3, c_out // group) if transpose else b.normal(c_out, 2, 3, 4 // group)
    op = "ConvTranspose" if transpose else "Conv"
    return b.node(op, x, weight, *([b.normal(c_out)] if bias else []), group=group)


def _graph(kind: str, bias: bool, behind: bool, op: str, operand: str) -> Graph:
    b = Builder(x=TensorSpec(("batch", 4)) if "Gemm" in kind else IMAGE)
    channels = (8 if "depthwise" in kind else 6) if behind else 4
    value = b.normal(channels) if operand == "vector" else b.constant(-0.7)
    steps: dict[str, Any] = {
        "x * c": lambda x: b.node("Mul", x, value),
        "c + x": lambda x: b.node("Add", value, x),
        "c - x": lambda x: b.node("Sub", value, x),
        "x / c": lambda x: b.node("Div", x, value),
    }
    return b.graph(steps[op](_host(b, kind, "x", bias)) if behind else _host(b, kind, steps[op]("x"), bias))


@pytest.mark.parametrize("operand", ["vector", "scalar"])
@pytest.mark.parametrize("op", ["x * c", "c + x", "c - x", "x / c"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", HOSTS)
def test_arithmetic_behind_a_host_goes_into_its_weights(kind: str, bias: bool, op: str, operand: str) -> None:
    graph = _graph(kind, bias, True, op, operand)
    folded = fold_affine(graph)
    adds = kind == "MatMul" and op in ("c + x", "c - x")  # it has no bias
    assert len(folded.nodes) == (2 if adds else 1)
    assert difference(graph, folded, SIZES) < 2e-6


@pytest.mark.parametrize("operand", ["vector", "scalar"])
@pytest.mark.parametrize("op", ["x * c", "c + x", "c - x", "x / c"])
@pytest.mark.parametrize("kind", HOSTS)
def test_arithmetic_before_a_host_goes_into_its_weights_where_exact(kind: str, op: str, operand: str) -> None:
    graph = _graph(kind, True, False, op, operand)
    folded = fold_affine(graph)
    adds = op in ("c + x", "c - x") and (kind == "MatMul" or "Transpose" in kind)
    assert len(folded.nodes) == (2 if adds else 1)
    assert difference(graph, folded, SIZES) < 4e-6


def test_a_summand_before_padding_stays_and_its_factor_with_it() -> None:
    b = Builder(x=IMAGE)
    x = b.node("Add", b.node("Mul", "x", b.constant(2)), b.constant(1))
    graph = b.graph(b.node("Conv", x, b.normal(6, 3, 3, 4), pads=(1, 1, 1, 1)))
    assert ops_of(fold_affine(graph)) == ["Mul", "Add", "Conv"]


def test_a_factor_that_two_hosts_read_goes_into_both_but_not_if_something_else_reads_it() -> None:
    for other, kept in ((False, 0), (True, 1)):
        b = Builder(x=IMAGE)
        x = b.node("Mul", "x", b.normal(4))
        weight = b.normal(6, 1, 1, 4)
        outputs = [b.node("Conv", x, weight), b.node("Conv", x, weight)] + ([b.node("Relu", x)] if other else [])
        graph = b.graph(*outputs)
        folded = fold_affine(graph)
        assert ops_of(folded).count("Mul") == kept
        assert difference(graph, folded, SIZES) < 2e-6


def test_a_weight_that_another_host_shares_is_not_changed_for_it() -> None:
    b = Builder(x=IMAGE)
    weight = b.normal(6, 1, 1, 4)
    graph = b.graph(b.node("Mul", b.node("Conv", "x", weight), b.normal(6)), b.node("Conv", "x", weight))
    folded = fold_affine(graph)
    assert ops_of(folded) == ["Conv", "Conv"]
    assert difference(graph, folded, SIZES) < 2e-6


def test_a_result_that_the_graph_outputs_is_not_rescaled() -> None:
    b = Builder(x=IMAGE)
    y = b.node("Conv", "x", b.normal(6, 1, 1, 4))
    graph = b.graph(y, b.node("Mul", y, b.normal(6)))
    assert fold_affine(graph).nodes == graph.nodes


def test_an_operand_that_widens_the_result_is_not_folded() -> None:
    b = Builder(x=IMAGE)
    graph = b.graph(b.node("Add", b.node("Conv", "x", b.normal(1, 1, 1, 4)), b.normal(5)))
    folded = fold_affine(graph)
    assert ops_of(folded) == ["Conv", "Add"]
    assert difference(graph, folded, SIZES) == 0


@pytest.mark.parametrize("kind", HOSTS)
def test_batch_normalization_behind_a_host_vanishes(kind: str) -> None:
    b = Builder(x=TensorSpec(("batch", 4)) if "Gemm" in kind else IMAGE)
    channels = 8 if "depthwise" in kind else 6
    variance = b.constant(b.rng.uniform(0.5, 2, channels))
    y = b.node("BatchNormalization", _host(b, kind, "x"), *(b.normal(channels) for _ in range(3)), variance)
    graph = b.graph(y)
    folded = fold_affine(open_batch_norm(graph))
    assert len(folded.nodes) == (2 if kind == "MatMul" else 1)
    assert folded.nodes[-1].outputs == (y,)
    assert difference(graph, folded, SIZES) < 4e-6


def test_batch_normalization_alone_is_a_product_and_a_sum() -> None:
    b = Builder(x=IMAGE)
    graph = b.graph(b.node("BatchNormalization", "x", b.normal(4), b.normal(4), b.normal(4), b.constant([1, 2, 3, 4])))
    opened = open_batch_norm(graph)
    assert ops_of(opened) == ["Mul", "Add"]
    assert difference(graph, opened, SIZES) < 1e-6


def test_zero_padding_goes_into_the_convolution_and_other_padding_does_not() -> None:
    for value, channel, ops in ((0, 0, ["Conv"]), (1, 0, ["Pad", "Conv"]), (0, 1, ["Pad", "Conv"])):
        b = Builder(x=IMAGE)
        x = b.node("Pad", "x", b.ints(0, 1, 2, 0, 0, 3, 0, channel), b.constant(value))
        graph = b.graph(b.node("Conv", x, b.normal(6, 3, 3, 4 + channel), pads=(1, 0, 0, 1)))
        folded = fold_pads(graph)
        assert ops_of(folded) == ops
        assert difference(graph, folded, SIZES) == 0
