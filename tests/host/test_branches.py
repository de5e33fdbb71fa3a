"""If: only the branch that is taken runs, whether that is known at import, for given shapes, or only in the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import alula
from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack
from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, Graph
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.planning.reference import evaluate
from alula.runtime.train import MSE, Trainer
from tests.host.onnx_models import model, node, onnxruntime_answers


def arm(nodes: list[onnx.NodeProto], *outputs: str, **constants: Array) -> onnx.GraphProto:
    """One branch."""
    infos = [onnx.ValueInfoProto(name=name) for name in outputs]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return helper.make_graph(nodes, "arm", [], infos, weights)


def choice(condition: str, then: onnx.GraphProto, other: onnx.GraphProto, *outputs: str) -> onnx.NodeProto:
    return helper.make_node("If", [condition], list(outputs), "the_if", then_branch=then, else_branch=other)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check(proto: onnx.ModelProto, tmp_path: Path, *feeds: dict[str, Array]) -> Graph:
    """The graph, after comparing reference, model and the file's model with onnxruntime."""
    graph = optimise(import_onnx(proto).graph)
    pack({"net": import_onnx(proto)}, tmp_path / "net.alula")
    models = (Model(graph), alula.load(tmp_path / "net.alula"))
    for feed in feeds:
        wanted = onnxruntime_answers(proto, feed)
        for found in (evaluate(graph, feed), *(each.run(feed) for each in models)):
            for name, want in zip(graph.outputs, wanted, strict=True):
                assert (found[name].dtype, found[name].shape) == (want.dtype, want.shape)
                np.testing.assert_allclose(found[name], want, rtol=1e-4, atol=1e-5)
    return graph


def positive() -> list[onnx.NodeProto]:
    """c: whether the sum of x is above 0."""
    return [node("ReduceSum", "x", "s", keepdims=0), node("Greater", "s zero", "c")]


ZERO = {"zero": np.array(0, np.float32)}
FEEDS = [{"x": sign * np.abs(normal(n, 3, 5, 6))} for sign in (1, -1) for n in (1, 2)]


def nested() -> onnx.ModelProto:
    """Convolutions in both branches under one name, and an If in an If, which reads what its branch made."""
    inner = choice("d", arm([node("Relu", "t", "q")], "q"), arm([node("Neg", "t", "q")], "q"), "i")
    then = arm(
        [node("Conv", "x w", "t", pads=[1] * 4), node("ReduceMax", "t", "m", keepdims=0), node("Greater", "m five", "d"),
         inner, node("Mul", "i x0", "o")],
        "o", "x0", w=normal(3, 3, 3, 3), five=np.array(5, np.float32), x0=np.array(2, np.float32),
    )  # fmt: skip
    other = arm([node("Conv", "x w", "t", pads=[1] * 4), node("Sigmoid", "t", "o"), node("ReduceMean", "o", "k", keepdims=0)],
                "o", "k", w=normal(3, 3, 3, 3, seed=1))  # fmt: skip
    nodes = [*positive(), choice("c", then, other, "y", "k"), node("Tanh", "y", "z")]
    return model(
        nodes, {"x": normal(1, 3, 5, 6)}, ZERO, outputs=("y", "z", "k"), shapes={"x": ["n", 3, 5, 6]}, opset=17
    )


def test_branches_of_equal_shapes_are_one_program_in_which_one_is_skipped(tmp_path: Path) -> None:
    loud = [{"x": 5 * feed["x"]} for feed in FEEDS]
    graph = check(nested(), tmp_path, *FEEDS, *loud)
    program = Model(graph).program({"x": (1, 3, 5, 6)})
    assert not program.reference_nodes
    assert sum(n.op == "Branch" for n in graph.nodes) == 2


def test_branches_may_give_tensors_of_other_shapes(tmp_path: Path) -> None:
    then = arm([node("ReduceMean", "x axes", "o")], "o", axes=np.array([2, 3]))
    other = arm([node("Identity", "x", "o")], "o")
    nodes = [*positive(), choice("c", then, other, "y"), node("Relu", "y", "z")]
    proto = model(nodes, {"x": normal(1, 3, 5, 6)}, ZERO, outputs=("z", "s"), shapes={"x": ["n", 3, 5, 6]}, opset=18)
    graph = check(proto, tmp_path, *FEEDS, *FEEDS)
    with pytest.raises(GraphError, match=r"the_if \(Branch\): expected shapes that follow from the inputs' shapes"):
        Model(graph).program({"x": (1, 3, 5, 6)})


@pytest.mark.parametrize(("size", "n_nodes"), [("c", 8), (1, 2), (2, 1)])
def test_what_follows_from_shapes_is_decided_at_import_or_for_the_shapes(
    size: int | str, n_nodes: int, tmp_path: Path
) -> None:
    """Exporters write a Squeeze so; where it does not fit, it is never run."""
    then, other = arm([node("Squeeze", "x one", "o")], "o"), arm([node("Identity", "x", "o")], "o")
    nodes = [node("Shape", "x", "s"), node("Gather", "s i", "d"), node("Equal", "d i", "c"), choice("c", then, other, "y"),
             node("Relu", "y", "z")]  # fmt: skip
    constants = {"i": np.array(1), "one": np.array([1])}
    proto = model(nodes, {"x": normal(2, 1, 4)}, constants, outputs=("z",), shapes={"x": ["n", size, 4]}, opset=17)
    if size == 2:  # onnxruntime refuses the branch that is not taken
        graph = optimise(import_onnx(proto).graph)
        assert Model(graph)(normal(3, 2, 4)).shape == (3, 2, 4)
    else:
        graph = check(proto, tmp_path, *({"x": normal(3, c, 4)} for c in ((1, 2) if size == "c" else (1,))))
    assert len(graph.nodes) == n_nodes


def test_a_branch_that_does_not_fit_these_shapes_is_planned_only_if_it_is_taken(tmp_path: Path) -> None:
    shape = {"shape": np.array([-1, 7])}
    then = arm([node("Reshape", "x shape", "r"), node("ReduceMax", "r", "o", keepdims=0)], "o", **shape)
    other = arm([node("ReduceMin", "x", "o", keepdims=0)], "o")
    proto = model(
        [*positive(), choice("c", then, other, "y")], {"x": normal(2, 3)}, ZERO, shapes={"x": ["n", "m"]}, opset=17
    )
    check(proto, tmp_path, {"x": -np.abs(normal(2, 3))}, {"x": np.abs(normal(2, 7))})


def test_a_branch_computes_what_its_own_shapes_depend_on(tmp_path: Path) -> None:
    then = arm([node("Exp", "x", "e"), node("Greater", "e one", "g"), node("Compress", "e g", "t", axis=0)], "t")
    size = [node("Abs", "x", "a"), node("ReduceMax", "a", "m", keepdims=1), node("Ceil", "m", "up")]
    other = arm([*size, node("Cast", "up", "size", to=onnx.TensorProto.INT64), node("Expand", "zero size", "t")], "t")
    nodes = [*positive(), choice("c", then, other, "y")]
    constants = {**ZERO, "one": np.array(1, np.float32)}
    proto = model(nodes, {"x": normal(3)}, constants, outputs=("y",), shapes={"x": ["n"]}, opset=18)
    check(proto, tmp_path, *({"x": sign * np.array(v, np.float32)} for sign in (1, -1) for v in ([1, 2, -0.5], [3, 1])))


def test_training_refuses_a_branch_by_name_unless_shapes_decide_it() -> None:
    graph = import_onnx(nested()).graph
    trainer = Trainer(graph, loss=MSE())
    with pytest.raises(
        GraphError, match=r"the_if \(Branch\): expected shapes and branches that follow from the inputs' shapes"
    ):
        trainer.step(normal(1, 3, 5, 6), normal(1, 3, 5, 6))


def test_layers_are_compared_where_they_run() -> None:
    graph = optimise(import_onnx(nested()).graph)
    found = Model(graph).run_all(FEEDS[0])
    assert {"s", "c", "y", "z", "k"} <= found.keys() and "t" not in found


def test_damaged_branches_are_one_line() -> None:
    empty = arm([node("Relu", "x", "o")])
    proto = model([*positive(), choice("c", empty, empty, "y")], {"x": normal(2, 3)}, ZERO)
    with pytest.raises(GraphError, match=r"the_if \(If\): expected 1 outputs of each branch, got 0"):
        import_onnx(proto)


def test_a_branch_without_its_two_flags_is_refused() -> None:
    graph = import_onnx(nested()).graph
    nodes = [replace(n, outputs=n.outputs[:1]) if n.op == "Branch" else n for n in graph.nodes]
    with pytest.raises(GraphError, match="the flags of two branches, got 1"):
        graph.with_nodes(nodes)
