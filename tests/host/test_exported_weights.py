"""Weights as exporters write them: kept once where they were equal, computed by nodes, filled in where a module has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from alula.host.onnx.importer import import_onnx
from alula.runtime.graph import Graph
from alula.runtime.passes.trainable import trainable_form
from alula.runtime.train.parameters import buffers, parameters


def form(nodes: list[Any], shape: list[int], **weights: Any) -> Graph:
    """The trainable form of a model that reads x."""
    rng = np.random.default_rng(0)
    values = {
        n: rng.standard_normal(v).astype(np.float32) if isinstance(v, tuple) else np.asarray(v)
        for n, v in weights.items()
    }
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)], [numpy_helper.from_array(v, n) for n, v in values.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return trainable_form(import_onnx(model).graph)


def constant(name: str, value: Any) -> Any:
    """A Constant node."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))


def test_equal_weights_that_an_exporter_kept_once_are_two() -> None:
    nodes = [
        helper.make_node("Identity", ["n1"], ["n2"]), helper.make_node("LayerNormalization", ["x", "n1"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]), helper.make_node("LayerNormalization", ["b", "n2"], ["y"]),
    ]  # fmt: skip
    assert list(parameters(form(nodes, [2, 4], n1=np.ones(4, np.float32)))) == ["n1", "n2"]


def test_a_weight_that_is_computed_from_constants_trains_what_it_is_computed_from() -> None:
    gates = [
        helper.make_node("Slice", ["w", f"s{i}", f"e{i}"], [f"g{i}"]) for i in range(4)
    ]  # fmt: skip
    nodes = [
        *gates,
        helper.make_node("Concat", ["g0", "g3", "g1", "g2"], ["iofc"], axis=0),
        helper.make_node("Unsqueeze", ["iofc", "axis"], ["W"]),
        helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=3),
    ]  # fmt: skip
    places = {f"{kind}{i}": np.array([3 * (i + (kind == "e"))]) for i in range(4) for kind in "se"}
    found = parameters(form(nodes, [5, 2, 4], w=(12, 4), R=(1, 12, 3), axis=np.array([0]), **places))
    assert sorted(found) == ["R", "w"]


def test_direction_and_length_of_a_weight_are_both_trained() -> None:
    nodes = [
        helper.make_node("ReduceL2", ["v"], ["norm"], axes=[1]), helper.make_node("Div", ["v", "norm"], ["unit"]),
        helper.make_node("Mul", ["unit", "g"], ["w"]), helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]  # fmt: skip
    assert sorted(parameters(form(nodes, [2, 4], v=(5, 4), g=(5, 1)))) == ["g", "v"]


@pytest.mark.parametrize("filled", [True, False])
def test_a_scale_that_an_exporter_filled_in_is_no_parameter(filled: bool) -> None:
    one, zero = np.ones(4, np.float32), np.zeros(4, np.float32)
    given = {} if filled else {"one": one, "zero": zero}
    nodes = [
        *([constant("one", one), constant("zero", zero)] if filled else []),
        helper.make_node("InstanceNormalization", ["x", "one", "zero"], ["a"]), helper.make_node("Mul", ["a", "s"], ["y"]),
    ]  # fmt: skip
    net = form(nodes, [2, 4, 3, 3], s=(4, 1, 1), **given)
    assert list(parameters(net)) == (["s"] if filled else ["one", "zero", "s"])


def test_repeated_and_folded_constants_keep_their_names() -> None:
    nodes = [
        helper.make_node("Expand", ["token", "many"], ["tokens"]), helper.make_node("Concat", ["tokens", "x"], ["a"], axis=1),
        helper.make_node("Squeeze", ["w", "axis"], ["m"]), helper.make_node("MatMul", ["a", "m"], ["y"]),
    ]  # fmt: skip
    net = form(nodes, [2, 3, 4], token=(1, 1, 4), many=np.array([2, 1, 4]), w=(1, 4, 5), axis=np.array([0]))
    assert list(parameters(net)) == ["w"] and list(buffers(net)) == ["token"]
