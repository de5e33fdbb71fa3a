"""Graphs through the references of their ops."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import GraphError, ShapeError
from alula.runtime.graph import Arrays, Graph, Node, TensorSpec
from alula.runtime.passes.rewrite import make_node
from alula.runtime.planning.reference import evaluate

VECTOR = TensorSpec(("n",))


def _graph(nodes: list[Node], *outputs: str, **constants: np.ndarray) -> Graph:
    return Graph("test", {"x": VECTOR}, outputs, tuple(nodes), Arrays(constants))


def test_nodes_run_one_after_the_other() -> None:
    nodes = [make_node("Add", ["x", "c"], "sum"), make_node("Mul", ["sum", "sum"], "square")]
    x, c = np.float32([1, -2, 3]), np.float32([1])
    got = evaluate(_graph(nodes, "square", c=c), {"x": x})
    assert set(got) == {"square"}
    np.testing.assert_array_equal(got["square"], [4, 1, 16])


def test_every_tensor_can_be_asked_for_those_inside_a_chain_included() -> None:
    stages = (make_node("Relu", ["y|body"], "relu"), make_node("Sub", ["c", "relu"], "y"))
    node = Node("Add", ("x", "c"), ("y",), make_node("Add", ["x", "c"], "y").attrs, fused=stages)
    x, c = np.float32([1, -5]), np.float32([2])
    got = evaluate(_graph([node], "y", c=c), {"x": x}, every_tensor=True)
    assert set(got) == {"x", "y|body", "relu", "y"}
    np.testing.assert_array_equal(got["y|body"], [3, -3])
    np.testing.assert_array_equal(got["relu"], [3, 0])
    np.testing.assert_array_equal(got["y"], [-1, 2])


def test_an_absent_input_and_an_unused_output_are_left_out() -> None:
    bounds = [make_node("Clip", ["x", "", "high"], "low")]
    x = np.float32([-7, 7])
    got = evaluate(_graph(bounds, "low", high=np.array(1, np.float32)), {"x": x})
    np.testing.assert_array_equal(got["low"], [-7, 1])


def test_an_input_or_constant_may_be_an_output() -> None:
    graph = _graph([], "x", "c", c=np.float32([5]))
    got = evaluate(graph, {"x": np.float32([1])})
    assert got["x"] == 1
    assert got["c"] == 5


def test_a_missing_input_is_named() -> None:
    with pytest.raises(GraphError, match=r"expected input 'x' float32\(n\), got \['y'\]"):
        evaluate(_graph([make_node("Relu", ["x"], "y")], "y"), {"y": np.float32([1])})


def test_an_error_names_the_node() -> None:
    graph = _graph([make_node("Squeeze", ["x", "axes"], "y", "head.squeeze")], "y", axes=np.array([4]))
    with pytest.raises(ShapeError, match=r"^head.squeeze \(Squeeze\): expected an axis"):
        evaluate(graph, {"x": np.float32([1])})
