"""Transposes meet and vanish; what cannot move stays."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.graph import Graph, TensorSpec
from alula.runtime.passes.layout import fix_reshapes, transpose_channels_last
from alula.runtime.passes.operands import trim_operands
from tests.runtime.passes.networks import SIZES, Builder, difference, image, ops_of


def transposes(graph: Graph) -> list[tuple[int, ...]]:
    return [node.attrs.perm for node in graph.nodes if node.op == "Transpose"]


def test_neighbouring_convolutions_keep_only_the_transposes_of_input_and_output() -> None:
    b = Builder(x=image())
    y = b.node("Relu", b.conv(b.node("Relu", b.conv("x", 4, 8, 3)), 8, 5))
    graph = b.graph(y)
    transposed = transpose_channels_last(graph)
    assert transposes(transposed) == [(0, 2, 3, 1), (0, 3, 1, 2)]
    assert difference(graph, transposed, SIZES) == 0


@pytest.mark.parametrize(
    "step",
    [
        lambda b, x: b.node("Add", x, b.normal(1, 4, 1, 1)),
        lambda b, x: b.node("Mul", b.normal(4, 1, 1), x),
        lambda b, x: b.node("Sub", x, b.normal(1, 1, 1, 1)),
        lambda b, x: b.node("Concat", x, x, axis=-3),
        lambda b, x: b.node("Pad", x, b.ints(0, 1, 2, 0, 0, 0, 1, 3)),
        lambda b, x: b.node("Pad", x, b.ints(1, 2), "", b.ints(3)),
        lambda b, x: b.node("Slice", x, b.ints(1, 0), b.ints(9, 3), b.ints(2, 1)),
        lambda b, x: b.node("Slice", x, b.ints(0, 1), b.ints(2, 3)),
        lambda b, x: b.node("ReduceMean", x, b.ints(1), keepdims=1),
        lambda b, x: b.node("ReduceMax", x, b.ints(-1), keepdims=1),
        lambda b, x: b.node("ReduceSum", x, keepdims=1),
        lambda b, x: b.node("Softmax", x, axis=1),
        lambda b, x: b.node("Clip", x, b.constant(-1), b.constant(1)),
        lambda b, x: b.node("PRelu", x, b.normal(4, 1, 1)),
        lambda b, x: b.node("Where", b.node("Greater", x, b.normal(4, 1, 1)), x, b.normal(1, 4, 1, 1)),
        lambda b, x: b.node("Cast", b.node("Cast", x, to="int32"), to="float32"),
        lambda b, x: b.node("Resize", x, "", b.constant([1, 1, 2, 2]), coordinate_transformation_mode="asymmetric"),
        lambda b, x: b.node("Resize", x, "", b.constant([3, 2]), mode="linear", axes=(2, 3)),
        lambda b, x: b.node("Tile", x, b.ints(1, 2, 1, 3)),
        lambda b, x: b.node("Gather", x, b.ints(2, 0, 1), axis=1),
        lambda b, x: b.node("Unsqueeze", b.node("Squeeze", b.wrapped("GlobalMaxPool", x), b.ints(3)), b.ints(3)),
        lambda b, x: b.node("Reshape", b.node("Reshape", x, b.ints(0, 0, -1)), b.node("Shape", x)),
        lambda b, x: b.node("Reshape", x, b.ints(0, 4, 1, -1)),
    ],
)
def test_an_op_that_does_not_care_about_order_lets_the_transposes_through(step: object) -> None:
    b = Builder(x=image())
    x = b.node("Tanh", b.conv("x", 4, 4, 3))
    y = step(b, x)  # type: ignore[operator]
    graph = b.graph(b.wrapped("GlobalAveragePool", y))
    transposed = transpose_channels_last(fix_reshapes(graph))
    assert transposes(transposed) in ([(0, 2, 3, 1)], [(0, 2, 3, 1), (0, 3, 1, 2)])
    assert [node.op for node in transposed.nodes][:2] == ["Transpose", "Conv"]
    assert "Transpose" not in [node.op for node in transposed.nodes][1:-1]
    assert difference(graph, transposed, SIZES) < 1e-6


def test_the_outputs_of_a_split_all_stay_channels_last() -> None:
    b = Builder(x=image())
    x = b.conv("x", 4, 6, 1)
    split = b.node("Split", x, b.ints(2, 4), axis=1)
    b.nodes[-1] = b.nodes[-1].__class__("Split", b.nodes[-1].inputs, (split, "rest"), b.nodes[-1].attrs)
    graph = b.graph(b.node("Add", b.conv(split, 2, 3), b.conv("rest", 4, 3)))
    transposed = transpose_channels_last(graph)
    assert transposes(transposed) == [(0, 2, 3, 1), (0, 3, 1, 2)]
    assert difference(graph, transposed, SIZES) == 0


def test_a_squeeze_and_excite_block_needs_no_transpose() -> None:
    b = Builder(x=image())
    x = b.conv("x", 4, 6, 3)
    gate = b.node("HardSigmoid", b.conv(b.node("Relu", b.conv(b.wrapped("GlobalAveragePool", x), 6, 2)), 2, 6))
    graph = b.graph(b.conv(b.node("Mul", x, gate), 6, 1))
    transposed = transpose_channels_last(graph)
    assert len(transposes(transposed)) == 2
    assert difference(graph, transposed, SIZES) == 0


def test_the_way_into_attention_and_back_keeps_no_transpose_of_images() -> None:
    b = Builder(x=image())
    x = b.conv("x", 4, 6, 1)
    flat = b.node(
        "Reshape", x, b.node("Concat", b.node("Slice", b.node("Shape", x), b.ints(0), b.ints(2)), b.ints(-1), axis=0)
    )
    tokens = b.node("MatMul", b.node("Transpose", flat, perm=(0, 2, 1)), b.normal(6, 6))  # (N, H * W, C)
    back = b.node("Reshape", b.node("Transpose", tokens, perm=(0, 2, 1)), b.node("Shape", x))
    graph = b.graph(b.conv(back, 6, 3))
    transposed = transpose_channels_last(fix_reshapes(graph))
    assert len(transposes(transposed)) == 2
    assert difference(graph, transposed, SIZES) < 1e-6


def test_a_pooled_image_is_flattened_without_a_transpose() -> None:
    b = Builder(x=image())
    x = b.node("Flatten", b.wrapped("GlobalAveragePool", b.conv("x", 4, 6)))
    graph = b.graph(b.node("Gemm", x, b.normal(6, 3)))
    transposed = transpose_channels_last(graph)
    assert transposes(transposed) == [(0, 2, 3, 1)]
    assert difference(graph, transposed, SIZES) < 1e-6


def test_an_image_of_many_pixels_is_transposed_before_it_is_flattened() -> None:
    b = Builder(x=TensorSpec(("batch", 2, 3, 4)))
    graph = b.graph(b.node("MatMul", b.node("Flatten", b.conv("x", 2, 5)), b.normal(60, 3)))
    transposed = transpose_channels_last(graph)
    assert len(transposes(transposed)) == 2
    assert difference(graph, transposed, SIZES) < 1e-6


def test_the_normalisation_of_the_input_comes_after_its_transpose() -> None:
    b = Builder(x=image(3))
    x = b.node("Div", b.node("Sub", "x", b.normal(1, 3, 1, 1)), b.normal(1, 3, 1, 1))
    graph = b.graph(b.conv(x, 3, 4))
    transposed = transpose_channels_last(graph)
    assert ops_of(transposed) == ["Transpose", "Sub", "Div", "Conv", "Transpose"]
    assert difference(graph, transposed, SIZES) == 0


def test_transposed_tensors_are_named_after_the_models() -> None:
    b = Builder(x=image())
    relu = b.node("Relu", b.conv("x", 4, 8))
    transposed = transpose_channels_last(b.graph(b.conv(relu, 8, 2)))
    assert f"{relu}.channels_last" in {name for node in transposed.nodes for name in node.outputs}


def test_constants_without_leading_ones_mean_the_same() -> None:
    b = Builder(x=image(), row=TensorSpec((14,)))
    y = b.node("Add", b.node("Mul", "x", b.normal(1, 1, 1, 1)), b.normal(1, 1, 11, 14))
    graph = b.graph(y, b.node("Add", "row", b.normal(1, 1, 14)))
    trimmed = trim_operands(graph)
    shapes = sorted(value.shape for value in (trimmed.constants[name] for name in trimmed.constants))
    assert shapes == [(), (1, 1, 14), (11, 14)]  # the constant that gives the output its rank keeps it
    assert difference(graph, trimmed, SIZES) == 0


def test_a_reshape_by_its_inputs_shape_becomes_constant() -> None:
    b = Builder(x=image())
    width = b.node("Gather", b.node("Shape", "x"), b.ints(3))
    target = b.node("Concat", b.ints(0), width, b.ints(4), b.ints(-1), axis=0)
    graph = b.graph(b.node("Reshape", b.node("Transpose", "x", perm=(0, 3, 2, 1)), target))
    fixed = fix_reshapes(graph)
    assert ops_of(fixed) == ["Transpose", "Reshape"]
    np.testing.assert_array_equal(fixed.constants[fixed.nodes[1].inputs[1]], [0, 0, 4, -1])
    assert difference(graph, fixed, SIZES) == 0


def test_a_shuffle_of_channels_becomes_one_transpose_of_pixels() -> None:
    b = Builder(x=TensorSpec((2, 4, 8, 12)))
    x = b.node("Tanh", b.conv("x", 4, 6, 3))
    y = b.node("Transpose", b.node("Reshape", x, b.ints(0, 2, 3, 6, 10)), perm=(0, 2, 1, 3, 4))
    y = b.node("Reshape", y, b.ints(0, 6, 6, 10))
    graph = b.graph(b.node("Relu", b.conv(y, 6, 5, 3)))
    transposed = transpose_channels_last(fix_reshapes(graph))
    assert transposes(transposed) == [(0, 2, 3, 1), (0, 1, 2, 4, 3), (0, 3, 1, 2)]
    assert difference(graph, transposed, {}) == 0


def test_channels_that_are_split_and_put_last_are_transposed_once() -> None:
    b = Builder(x=TensorSpec((2, 4, 8, 12)))
    x = b.conv("x", 4, 6, 3)
    y = b.node("Transpose", b.node("Reshape", x, b.ints(0, 3, 2, 6, 10)), perm=(0, 1, 3, 4, 2))
    graph = b.graph(b.node("Sigmoid", y))
    transposed = transpose_channels_last(fix_reshapes(graph))
    assert transposes(transposed) == [(0, 2, 3, 1), (0, 3, 1, 2, 4)]
    assert difference(graph, transposed, {}) == 0
