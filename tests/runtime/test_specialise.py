"""Free dimensions get sizes, shapes get computed, and what cannot be is said in one line."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import DTypeError, GraphError, ShapeError
from alula.runtime.graph import Graph, TensorSpec
from alula.runtime.planning.reference import evaluate
from alula.runtime.planning.specialise import specialise, static_input_names
from tests.runtime.passes.networks import Builder, image


def _halving() -> tuple[Graph, str]:
    """A network that computes a shape: images in rows of half their height."""
    b = Builder(x=image())
    shape = b.node("Shape", b.node("Relu", "x"))
    height = b.node("Div", b.node("Gather", shape, b.ints(2)), b.ints(2))
    target = b.node("Concat", b.node("Slice", shape, b.ints(0), b.ints(2)), height, b.ints(-1), axis=0)
    y = b.node("Reshape", b.node("Sigmoid", "x"), target)
    return b.graph(y), y


def test_shapes_are_computed_and_their_nodes_are_gone() -> None:
    graph, y = _halving()
    network = specialise(graph, {"x": TensorSpec((3, 4, 6, 5))})
    assert [node.op for node in network.nodes] == ["Sigmoid", "Reshape"]  # the Relu was for its shape alone
    assert network.specs[y] == TensorSpec((3, 4, 3, 10))
    np.testing.assert_array_equal(network.values[network.nodes[1].inputs[1]], [3, 4, 3, -1])
    assert network.specs[network.nodes[1].inputs[1]] == TensorSpec((4,), "int64")


def test_every_spec_is_that_of_the_evaluated_tensor() -> None:
    graph, _ = _halving()
    x = np.zeros((2, 4, 8, 3), np.float32)
    network = specialise(graph, {"x": TensorSpec.of(x)})
    for name, value in evaluate(graph, {"x": x}, every_tensor=True).items():
        assert network.specs[name] == TensorSpec.of(value)


def test_constants_are_not_decoded_unless_they_decide_a_shape() -> None:
    b = Builder(x=image())
    weight = b.normal(6, 3, 3, 4)
    y = b.node("Reshape", b.node("Conv", b.node("Transpose", "x", perm=(0, 2, 3, 1)), weight), b.ints(0, -1))
    graph = b.graph(y)
    decoded: list[str] = []

    class Watched(dict):  # type: ignore[type-arg]
        def __getitem__(self, name: str) -> np.ndarray:
            decoded.append(name)
            return super().__getitem__(name)  # type: ignore[no-any-return]

        def spec(self, name: str) -> TensorSpec:
            return TensorSpec.of(super().__getitem__(name))

    watched = Graph("test", graph.inputs, graph.outputs, graph.nodes, Watched(graph.constants))
    network = specialise(watched, {"x": TensorSpec((1, 4, 9, 9))})
    assert weight not in decoded
    assert network.values[weight].shape == (6, 3, 3, 4)
    assert weight in decoded


def test_a_small_constant_grows_large_only_when_the_program_runs() -> None:
    b = Builder(x=image())
    wide = b.node("Expand", b.constant([1.0]), b.node("Shape", "x"))
    graph = b.graph(b.node("Add", "x", wide))
    small = specialise(graph, {"x": TensorSpec((1, 4, 2, 2))})
    large = specialise(graph, {"x": TensorSpec((1, 4, 400, 400))})
    assert [node.op for node in small.nodes] == ["Add"]
    assert [node.op for node in large.nodes] == ["Expand", "Add"]


def test_an_output_may_be_known_before_anything_runs() -> None:
    b = Builder(x=image())
    graph = b.graph(b.node("Shape", "x"), b.node("Size", "x"))
    network = specialise(graph, {"x": TensorSpec((2, 4, 5, 6))})
    assert network.nodes == ()
    assert [network.values[name].tolist() for name in network.outputs] == [[2, 4, 5, 6], 240]


def test_inputs_whose_values_decide_shapes_are_found() -> None:
    four, any_length = TensorSpec((4,), "int64"), TensorSpec(("k",), "int64")
    b = Builder(x=image(), size=four, offset=four, y=image(), z=any_length)
    target = b.node("Sub", b.node("Mul", "size", b.ints(1, 1, 2, 2)), "offset")
    grown = b.node("Resize", "x", "", "", target)
    other = b.node("Expand", "y", b.node("Shape", b.node("Add", "z", "z")))
    graph = b.graph(grown, other)
    assert static_input_names(graph) == ("size", "offset")
    images = dict.fromkeys(("x", "y"), TensorSpec((1, 4, 3, 3)))
    specs = {**images, "size": four, "offset": four, "z": TensorSpec((1,), "int64")}
    known = {"size": np.array([1, 4, 4, 5]), "offset": np.array([0, 0, 1, 0])}
    assert specialise(graph, specs, known).specs[grown] == TensorSpec((1, 4, 7, 10))
    with pytest.raises(GraphError, match="Resize"):
        specialise(graph, specs)


def test_a_shape_that_depends_on_data_is_refused_by_name() -> None:
    b = Builder(x=TensorSpec((3,), "int64"))
    graph = b.graph(b.node("Reshape", b.normal(6), b.node("Add", b.node("ArgMax", "x"), b.ints(5))))
    assert static_input_names(graph) == ("x",)
    with pytest.raises(GraphError, match=r"Reshape.*to follow from shapes and constants"):
        specialise(graph, {"x": TensorSpec((3,), "int64")})


@pytest.mark.parametrize(
    ("given", "error", "hint"),
    [
        (TensorSpec((1, 32, 48, 3)), ShapeError, "it looks channels-last: transpose it by (0, 3, 1, 2)"),
        (TensorSpec((3, 32, 48)), ShapeError, "the batch is missing"),
        (
            TensorSpec((1, 1, 32, 48)),
            ShapeError,
            "expected float32(batch, 3, height, width), got float32(1, 1, 32, 48)",
        ),
        (TensorSpec((1, 3, 32, 48), "uint8"), DTypeError, "convert it to float32"),
    ],
)
def test_a_wrong_input_is_named_with_a_hint(given: TensorSpec, error: type[Exception], hint: str) -> None:
    b = Builder(x=image(3))
    graph = b.graph(b.node("Relu", "x"))
    with pytest.raises(error) as caught:
        specialise(graph, {"x": given})
    message = str(caught.value)
    assert message.startswith("input x: expected ")
    assert hint in message
    assert "\n" not in message


def test_one_name_is_one_size_and_every_input_is_needed() -> None:
    b = Builder(x=image(3), y=image(3))
    graph = b.graph(b.node("Add", "x", "y"))
    with pytest.raises(ShapeError, match="input y: expected batch = 1 as input x has"):
        specialise(graph, {"x": TensorSpec((1, 3, 4, 5)), "y": TensorSpec((2, 3, 4, 5))})
    with pytest.raises(GraphError, match="expected input 'y'"):
        specialise(graph, {"x": TensorSpec((1, 3, 4, 5))})


def test_an_error_inside_names_the_node() -> None:
    b = Builder(x=image(3))
    y = b.node("Conv", "x", b.normal(4, 3, 3, 7))
    with pytest.raises(ShapeError, match=rf"^{y} \(Conv\): expected"):
        specialise(b.graph(y), {"x": TensorSpec((1, 3, 8, 8))})


def test_a_known_value_must_fit_its_input() -> None:
    b = Builder(x=TensorSpec(("n",)), size=TensorSpec((1,), "int64"))
    graph = b.graph(b.node("Reshape", "x", "size"))
    specs = {"x": TensorSpec((4,)), "size": TensorSpec((1,), "int64")}
    with pytest.raises(GraphError, match="input size"):
        specialise(graph, specs, {"size": np.array([2, 2])})
