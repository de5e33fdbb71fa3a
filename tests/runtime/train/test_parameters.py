"""What is a parameter, and what a buffer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.passes.rewrite import make_node
from alula.runtime.passes.trainable import trainable_form
from alula.runtime.train import MSE, SGD, Trainer
from alula.runtime.train.parameters import buffers, parameters

X = (2, 6, 8)


def graph(nodes: list[Node], constants: dict[str, Any], dtype: str = "float32") -> Graph:
    """Of one input x and the last node's output; shapes stand for values."""
    rng = np.random.default_rng(0)
    values = {
        name: rng.standard_normal(v).astype(np.float32) if isinstance(v, tuple) else np.asarray(v)
        for name, v in constants.items()
    }
    return Graph("net", {"x": TensorSpec(X, dtype)}, (nodes[-1].outputs[0],), tuple(nodes), Arrays(values))


def mask() -> Array:
    """What attention may not look at."""
    return np.triu(np.full((6, 6), -np.inf, np.float32), 1)


def attention(bias: Any) -> Graph:
    """Scores of a sequence with itself, a constant on them, behind the network's own normalisation and its positions."""
    return graph(
        [
            make_node("Sub", ["x", "mean"], "centred"), make_node("Mul", ["centred", "factor"], "normal"),
            make_node("MatMul", ["normal", "embed"], "embedded"), make_node("Add", ["embedded", "embed.bias"], "shifted"),
            make_node("Add", ["shifted", "positions"], "placed"), make_node("MatMul", ["placed", "q"], "queries"),
            make_node("Transpose", ["placed"], "keys", perm=(0, 2, 1)), make_node("MatMul", ["queries", "keys"], "scores"),
            make_node("Add", ["scores", "mask"], "masked"), make_node("Softmax", ["masked"], "shares"),
            make_node("MatMul", ["shares", "placed"], "mixed"), make_node("Mul", ["mixed", "anchors"], "y"),
        ],
        {"mean": (8,), "factor": (8,), "embed": (8, 8), "embed.bias": (8,), "positions": (1, 6, 8), "q": (8, 8),
         "mask": bias, "anchors": (8,)},
    )  # fmt: skip


@pytest.mark.parametrize("bias", [mask(), mask()[3], np.ones((1, 6), np.float32)], ids=["matrix", "row", "finite"])
def test_masks_positions_anchors_and_the_networks_own_normalisation_are_buffers(bias: Array) -> None:
    net = attention(bias)
    assert list(parameters(net)) == ["embed", "embed.bias", "q"]
    assert list(buffers(net)) == ["mean", "factor", "positions", "mask", "anchors"]


def test_weight_decay_leaves_a_mask_alone() -> None:
    trainer = Trainer(attention(mask()), SGD(0.1, weight_decay=0.01), MSE(), threads=1)
    assert trainer.trained == ("embed", "embed.bias", "q")
    x = np.random.default_rng(1).standard_normal(X).astype(np.float32)
    losses = [trainer.step(x, np.zeros(X, np.float32)).loss for _ in range(4)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert np.array_equal(trainer.trained_graph().constants["mask"], mask())


def test_a_rule_can_name_a_buffer() -> None:
    net = attention(mask())
    trainer = Trainer(net, SGD(0.1), MSE(), "all,positions", threads=1)
    assert trainer.trained == ("embed", "embed.bias", "q", "positions")
    assert trainer.roles["positions"] == "trained" and trainer.roles["mask"] == "buffer"
    x = np.random.default_rng(1).standard_normal(X).astype(np.float32)
    trainer.step(x, np.zeros(X, np.float32))
    assert not np.array_equal(trainer.trained_graph().constants["positions"], net.constants["positions"])
    assert Trainer(net, update="posit*", loss=MSE(), threads=1).trained == ("positions",)
    assert Trainer(net, update="embed", loss=MSE(), threads=1).roles["q"] == "frozen"
    with pytest.raises(GraphError, match="matches parameters"):
        Trainer(net, update="nothing", threads=1)


@pytest.mark.parametrize(
    ("nodes", "constants", "found"),
    [
        ([make_node("MatMul", ["x", "w"], "a"), make_node("Mul", ["s", "a"], "b"), make_node("Add", ["b", "t"], "y")],
         {"w": (8, 4), "s": (4,), "t": (4,)}, ["w", "s", "t"]),
        ([make_node("MatMul", ["x", "w"], "a"), make_node("Add", ["a", "b"], "y")], {"w": (8, 1), "b": (1,)}, ["w", "b"]),
        ([make_node("MatMul", ["x", "w"], "a"), make_node("Mul", ["a", "two"], "y")], {"w": (8, 1), "two": (1,)}, ["w"]),
        ([make_node("MatMul", ["x", "w"], "a"), make_node("Relu", ["a"], "b"), make_node("Add", ["b", "c"], "y")],
         {"w": (8, 4), "c": (4,)}, ["w"]),
        ([make_node("InstanceNormalization", ["x", "one", "zero"], "a"), make_node("Reshape", ["a", "shape"], "b"),
          make_node("Mul", ["b", "s"], "c"), make_node("Add", ["c", "t"], "y")],
         {"one": (8,), "zero": (8,), "shape": np.array(X), "s": (6, 1), "t": (6, 1)}, ["one", "zero", "s", "t"]),
        ([make_node("Mul", ["x", "x"], "q"), make_node("ReduceMean", ["q", "axis"], "m"), make_node("Sqrt", ["m"], "d"),
          make_node("Reciprocal", ["d"], "r"), make_node("Mul", ["x", "r"], "n"), make_node("Mul", ["n", "s"], "y")],
         {"axis": np.array([-1]), "s": (8,)}, ["s"]),
        ([make_node("Gemm", ["w", "x2"], "a"), make_node("PRelu", ["a", "slope"], "y")] , {"x2": (5, 4), "w": (3, 5), "slope": (4,)},
         ["w", "x2", "slope"]),
        ([make_node("MatMul", ["x", "w"], "a"), make_node("Cast", ["a"], "y", to="float64")], {"w": np.eye(8)}, []),
    ],
    ids=["scale and shift of a layer", "one output", "a factor", "behind an activation", "group normalisation", "root mean square",
         "weight on the left", "float64"],
)  # fmt: skip
def test_a_scale_or_shift_is_a_parameter_behind_a_layer_or_normalisation(
    nodes: list[Node], constants: dict[str, Any], found: list[str]
) -> None:
    assert list(parameters(graph(nodes, constants))) == found


def test_embeddings_are_parameters_and_look_ups_of_numbers_are_not() -> None:
    nodes = [make_node("Gather", ["table", "x"], "a"), make_node("Gather", ["row", "x"], "b"),
             make_node("ReduceSum", ["a", "axis"], "c", keepdims=0),
             make_node("Add", ["b", "c"], "y")]  # fmt: skip
    net = graph(nodes, {"table": (11, 4), "row": (11,), "axis": np.array([-1])}, "int64")
    assert list(parameters(net)) == ["table"] and list(buffers(net)) == ["row"]


def test_a_weight_of_several_readers_stays_one_and_keeps_its_name() -> None:
    nodes = [
        make_node("MatMul", ["x", "w"], "a"), make_node("Tanh", ["a"], "h"),
        *(make_node("Transpose", ["w"], f"w{i}", perm=(1, 0)) for i in (1, 2)),
        *(make_node("MatMul", ["h", f"w{i}"], f"y{i}") for i in (1, 2)),
        make_node("Add", ["y1", "y2"], "y"),
    ]  # fmt: skip
    form = trainable_form(graph(nodes, {"w": (8, 5)}))
    found = parameters(form)
    assert list(found) == ["w"] and [node.op for node in found["w"]] == ["MatMul"] * 3
    assert list(form.constants) == ["w"] and list(form.inputs) == ["x"]
