"""Skipping: a guarded block runs or is its shortcut, in inference and in training, and nothing reads what it would have made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import alula
from alula.host.onnx.exporter import export_onnx
from alula.host.pack import pack
from alula.runtime.errors import GraphError, MemoryBudgetError, ShapeError
from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import NoAttrs, find
from alula.runtime.passes import optimise
from alula.runtime.passes.guards import with_guard
from alula.runtime.passes.trainable import trainable_form
from alula.runtime.planning.reference import evaluate
from alula.runtime.train import MSE, SGD, Adam, Trainer
from tests.bench.skipping import without

C = 16
ON, OFF = np.array(1), np.array(0)


def node(op: str, inputs: str, output: str, **attrs: object) -> Node:
    return Node(op, tuple(inputs.split()), (output,), find(op, output).make_attrs(attrs, output), output)


def residual(blocks: int = 2, projected: bool = False, c: int = C) -> Graph:
    """conv, then residual blocks of two convolutions with batch normalisation; outputs of the blocks are y0, y1 ..."""
    rng = np.random.default_rng(0)
    constants, nodes = Arrays(), []

    def conv(x: str, y: str, c_in: int, k: int = 3) -> str:
        constants[f"{y}.w"] = (rng.standard_normal((c, k, k, c_in)) / np.sqrt(k * k * c_in)).astype(np.float32)
        nodes.append(node("Conv", f"{x} {y}.w", f"{y}.conv", pads=(k // 2,) * 4))
        for part, value in (("scale", 1), ("shift", 0), ("mean", 0), ("var", 1)):
            constants[f"{y}.{part}"] = np.full(c, value, np.float32) + rng.random(c).astype(np.float32) / 4
        nodes.append(node("BatchNormalization", f"{y}.conv {y}.scale {y}.shift {y}.mean {y}.var", y))
        return y

    conv("x", "stem", 3)
    last = "stem"
    for i in range(blocks):
        shortcut = conv(last, f"short{i}", c, 1) if projected else last
        conv(last, f"a{i}", c)
        nodes.append(node("Relu", f"a{i}", f"r{i}"))
        conv(f"r{i}", f"b{i}", c)
        nodes += [node("Add", f"b{i} {shortcut}", f"s{i}"), node("Relu", f"s{i}", f"y{i}")]
        last = f"y{i}"
    nodes.append(node("GlobalAveragePool", last, "z"))
    return Graph("residual", {"x": TensorSpec(("n", 9, 7, 3))}, ("z",), tuple(nodes), constants)


def data(seed: int = 0, n: int = 4) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 9, 7, 3)).astype(np.float32), rng.standard_normal((n, 1, 1, C)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("form", [trainable_form, optimise], ids=["as it is trained", "optimised"])
@pytest.mark.parametrize("projected", [False, True])
def test_a_block_that_is_skipped_is_its_shortcut(form: object, projected: bool, threads: int) -> None:
    assert callable(form)
    graph = residual(projected=projected)
    shortcut = "short1" if projected else "y0"
    guarded = form(with_guard(graph, "y1", shortcut, "flag"))
    assert any(each.guard for each in guarded.nodes)
    model = Model(guarded, threads=threads)
    x, _ = data()
    plain, skipped = (
        Model(form(graph), threads=threads)(x),
        Model(form(without(graph, "y1", shortcut)), threads=threads)(x),
    )
    for flag, wanted in ((ON, plain), (OFF, skipped), (np.array(-7), plain), (OFF, skipped)):
        np.testing.assert_allclose(model(x, flag), wanted, rtol=2e-5, atol=1e-6)
        reference = evaluate(guarded, {"x": x, "flag": flag})["z"]
        np.testing.assert_allclose(reference, wanted, rtol=2e-5, atol=1e-5)


def test_a_node_of_the_same_program_sets_the_flag() -> None:
    graph = residual()
    gate = [
        node("ReduceMean", "stem", "score", keepdims=0),
        node("Greater", "score limit", "large"),
        node("Cast", "large", "flag", to="int64"),
    ]
    graph.constants["limit"] = np.array(0.0, np.float32)  # type: ignore[index]
    at = next(i for i, each in enumerate(graph.nodes) if each.outputs == ("stem",)) + 1
    graph = replace(graph, nodes=(*graph.nodes[:at], *gate, *graph.nodes[at:]))
    guarded = with_guard(graph, "y1", "y0", "flag")
    assert "flag" not in guarded.inputs
    x, _ = data()
    model, kinds = Model(guarded), set()
    for shift in (-3, -1, 0, 1, 3):
        answer = model(x + np.float32(shift))
        plain = evaluate(graph, {"x": x + np.float32(shift)}, every_tensor=True)
        runs = bool(plain["flag"])
        kinds.add(runs)
        wanted = plain["z"] if runs else plain["y0"].mean((1, 2), keepdims=True)
        np.testing.assert_allclose(answer, wanted, rtol=2e-4, atol=1e-5)
    assert kinds == {True, False}


def test_a_flag_that_is_known_leaves_no_guard() -> None:
    graph = residual()
    for value in (0, 1):
        graph.constants["flag"] = np.array(value)  # type: ignore[index]
        model = Model(with_guard(graph, "y1", "y0", "flag"))
        x, _ = data()
        wanted = Model(graph if value else without(graph, "y1", "y0"))(x)
        np.testing.assert_allclose(model(x), wanted, rtol=2e-5, atol=1e-6)
        (program,) = model._programs.values()
        assert not any(each.guard for each in program.instructions)


def test_references_obey_guards() -> None:
    nodes = (
        node("Sin", "x", "a"),
        Node("Cos", ("a",), ("b",), NoAttrs(), "b", (), "flag", ("x",)),
        node("Add", "b a", "y"),
    )
    graph = Graph("reference", {"x": TensorSpec((5,)), "flag": TensorSpec((1,), "int64")}, ("y",), nodes)
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    np.testing.assert_allclose(Model(graph)(x, np.array([0])), x + np.sin(x), rtol=1e-6)
    np.testing.assert_allclose(Model(graph)(x, np.array([1])), np.cos(np.sin(x)) + np.sin(x), rtol=1e-6)


@pytest.mark.parametrize("op", ["Reshape", "Transpose", "Relu"])
def test_a_view_that_is_skipped_does_not_write_over_what_others_read(op: str) -> None:
    constants = Arrays(shape=np.array([4, 6]))
    made = {
        "Reshape": Node("Reshape", ("a", "shape"), ("y",), find("Reshape", "").make_attrs({}, ""), "y", (), "flag", ("o",)),
        "Transpose": Node("Transpose", ("a",), ("y",), find("Transpose", "").make_attrs({"perm": (1, 0)}, ""), "y", (), "flag", ("o",)),
        "Relu": Node("Relu", ("a",), ("y",), NoAttrs(), "y", (), "flag", ("o",)),
    }  # fmt: skip
    shape = {"Transpose": (4, 6), "Reshape": (4, 6), "Relu": (6, 4)}[op]
    nodes = (
        node("Neg", "x", "a"),
        node("Exp", "u", "o"),
        made[op],
        node("Abs", "y", "z"),
        node("Sqrt", "o", "w"),
        node("Abs", "a", "v"),
    )
    inputs = {"x": TensorSpec((6, 4)), "u": TensorSpec(shape), "flag": TensorSpec((), "int64")}
    graph = Graph("views", inputs, ("z", "w", "v"), nodes, constants)
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((6, 4)).astype(np.float32), "u": rng.standard_normal(shape).astype(np.float32)}
    model = Model(graph)
    for flag in (ON, OFF, ON):
        wanted = evaluate(graph, {**feeds, "flag": flag})
        got = model.run({**feeds, "flag": flag})
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, rtol=2e-6)


OPTIONS = {
    "sgd": {"optimizer": SGD(lr=0.1, momentum=0.9)},
    "adam": {"optimizer": Adam(lr=0.01)},
    "clipped": {"optimizer": SGD(lr=0.1), "clip_norm": 0.1},
    "frozen statistics": {"optimizer": SGD(lr=0.1), "batch_statistics": False},
    "a part": {"optimizer": SGD(lr=0.1), "update": "last:2"},
    "channels": {"optimizer": SGD(lr=0.1), "update": "a*.w:0.5,b*.w,b*.shift"},
}


@pytest.mark.parametrize(
    ("kind", "frugal", "projected"),
    [
        *((kind, False, False) for kind in OPTIONS),
        ("sgd", True, False),
        ("clipped", True, True),
        ("channels", False, True),
    ],
)
def test_a_step_with_and_without_a_block_is_that_of_the_network_built_so(
    kind: str, frugal: bool, projected: bool
) -> None:
    graph, shortcut = residual(3, projected), "short1" if projected else "y0"
    options = {"loss": MSE(), "threads": 1, **OPTIONS[kind]}
    guarded = Trainer(with_guard(graph, "y1", shortcut, "flag"), **options)
    if frugal:
        x, y = data()
        total = guarded.program(x, ON, y).memory.total
        guarded = _held(with_guard(graph, "y1", shortcut, "flag"), total, options)
    whole, partly = Trainer(graph, **options), Trainer(without(graph, "y1", shortcut), **options)
    for seed, flag in enumerate((ON, OFF)):
        x, y = data(seed)
        done = guarded.step(x, flag, y)
        other = whole if flag else partly
        before = {name: guarded.values()[name].copy() for name in guarded.values()}
        wanted = other.step(x, y)
        assert done.loss == pytest.approx(wanted.loss, rel=1e-5)
        ours, theirs = guarded.values(), other.values()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=2e-4, atol=2e-5, err_msg=name)
        if not flag:  # what was skipped has learned nothing
            for name in set(ours) - set(theirs):
                np.testing.assert_array_equal(ours[name], before[name])
        partly = _same(partly, guarded)
        whole = _same(whole, guarded)


def _held(graph: Graph, total: int, options: dict[str, object]) -> Trainer:
    """A trainer that recomputes: within the least memory that a plan fits in."""
    x, y = data()
    with pytest.raises(MemoryBudgetError) as least:
        Trainer(graph, **options, max_bytes=total // 2).program(x, ON, y)  # type: ignore[arg-type]
    nbytes = int(str(least.value).split(" got ")[1].split(" ")[0].replace(",", ""))
    assert nbytes < total
    return Trainer(graph, **options, max_bytes=nbytes)  # type: ignore[arg-type]


def _same(trainer: Trainer, other: Trainer) -> Trainer:
    """The trainer with the other one's state."""
    state = other.state()
    trainer.restore({name: value for name, value in state.items() if name in trainer.state()})
    return trainer


def test_accumulated_gradients_of_a_skipped_block_are_zero() -> None:
    graph = residual(2)
    options = {"optimizer": SGD(lr=0.1), "loss": MSE(), "threads": 1, "accumulate": 2}
    guarded, whole = (
        Trainer(with_guard(graph, "y1", "y0", "flag"), **options),
        Trainer(graph, **{**options, "accumulate": 1}),
    )
    first = {name: value.copy() for name, value in guarded.values().items()}
    (x, y), (x2, y2) = data(0), data(1)
    guarded.step(x, OFF, y)
    guarded.step(x2, ON, y2)
    whole.step(x2, y2)
    for name in ("a1.w", "b1.w"):  # half of the mean of both batches
        moved, alone = guarded.values()[name] - first[name], whole.values()[name] - first[name]
        np.testing.assert_allclose(moved, alone / 2, rtol=1e-3, atol=1e-6)


def test_gradients_of_what_only_a_skipped_block_reads_are_zero() -> None:
    graph = residual(1)
    guarded = with_guard(graph, "y0", "stem", "flag")
    trainer = Trainer(guarded, SGD(), MSE(), threads=1)
    x, y = data()
    gradients = trainer.gradients(x, OFF, y)
    assert not gradients["a0.w"].any() and not gradients["b0.scale"].any()
    assert gradients["stem.w"].any()


def test_a_guard_survives_its_file(tmp_path: Path) -> None:
    guarded = with_guard(residual(), "y1", "y0", "flag")
    x, _ = data()
    for trainable in (False, True):
        path = tmp_path / f"{trainable}.alula"
        pack({"residual": guarded}, path, trainable=trainable)
        model = alula.load(path)
        for flag in (ON, OFF):
            np.testing.assert_allclose(model(x, flag), Model(guarded)(x, flag), rtol=2e-5, atol=1e-6)


def test_what_cannot_be_guarded_is_refused() -> None:
    graph = residual()
    with pytest.raises(GraphError, match="expected a tensor of residual, got 'nothing'"):
        with_guard(graph, "nothing", "y0", "flag")
    with pytest.raises(GraphError, match="which nothing computes"):
        with_guard(graph, "x", "y0", "flag")
    with pytest.raises(GraphError, match="guard each once"):
        with_guard(with_guard(graph, "y1", "y0", "flag"), "y1", "y0", "other")
    with pytest.raises(ShapeError, match="guard a block that keeps its input's shape"):
        Model(with_guard(graph, "y1", "x", "flag"))(*data()[:1], ON)
    with pytest.raises(ShapeError, match="int64 of one element"):
        Model(
            replace(with_guard(graph, "y1", "y0", "flag"), inputs={**graph.inputs, "flag": TensorSpec((2,), "int64")})
        )(data()[0], np.array([1, 1]))
    guarded = with_guard(graph, "y1", "y0", "flag")
    with pytest.raises(GraphError, match="skipped by 'flag'"):
        replace(guarded, nodes=(*guarded.nodes, node("Relu", "b1", "extra")))
    with pytest.raises(GraphError, match="expected output 'b1' in every run"):
        replace(guarded, outputs=("z", "b1"))
    with pytest.raises(GraphError, match="always runs"):
        export_onnx(guarded)


def test_two_outputs_of_one_node_have_gradients_of_their_own() -> None:
    """Of u and v, which meet in a guarded sum, only v is what the sum is otherwise."""
    split = Node(
        "Split", ("a",), ("u", "v"), find("Split", "").make_attrs({"axis": -1, "num_outputs": 2}, ""), "halves"
    )
    nodes = (
        node("Conv", "x w", "a"),
        split,
        node("Add", "u v", "s"),
        node("Relu", "s", "y"),
        node("ReduceMean", "y", "z"),
    )
    weight = np.random.default_rng(0).standard_normal((2 * C, 1, 1, 3)).astype(np.float32)
    graph = Graph("halves", {"x": TensorSpec(("n", 9, 7, 3))}, ("z",), nodes, Arrays(w=weight))
    trainer = Trainer(with_guard(graph, "y", "v", "flag"), SGD(), MSE(), threads=1)
    x, target = data()[0], np.zeros((1, 1, 1, 1), np.float32)
    gradient = trainer.gradients(x, OFF, target)["w"]
    assert not gradient[:C].any() and gradient[C:].any()
    assert trainer.gradients(x, ON, target)["w"][:C].any()


def test_a_parameter_that_is_skipped_learns_nothing_where_the_other_one_is_the_shortcut() -> None:
    rng = np.random.default_rng(0)
    constants = Arrays(p=rng.random(C).astype(np.float32), q=rng.random(C).astype(np.float32))
    nodes = (node("Add", "p q", "s"), node("Relu", "s", "y"), node("Mul", "x y", "z"))
    graph = Graph("vectors", {"x": TensorSpec(("n", C))}, ("z",), nodes, constants)
    x = rng.standard_normal((3, C)).astype(np.float32)
    for options in ({}, {"clip_norm": 1.0}, {"accumulate": 2}):
        trainer = Trainer(with_guard(graph, "y", "q", "flag"), SGD(lr=0.1), MSE(), "p,q", threads=1, **options)
        first = {name: value.copy() for name, value in trainer.values().items()}
        for _ in range(2):
            trainer.step(x, OFF, np.zeros_like(x))
        np.testing.assert_array_equal(trainer.values()["p"], first["p"])
        assert (trainer.values()["q"] != first["q"]).any()


def test_a_shape_that_is_computed_inside_a_block_is_known_all_the_same() -> None:
    graph = residual()
    shape = [node("Shape", "s1", "dims"), node("Reshape", "s1 dims", "again"), node("Relu", "again", "y1")]
    nodes = (*(each for each in graph.nodes if each.outputs[0] not in ("y1", "z")), *shape, graph.nodes[-1])
    graph = replace(graph, nodes=nodes)
    guarded, x = with_guard(graph, "y1", "y0", "flag"), data()[0]
    model = Model(guarded)
    for flag in (ON, OFF):
        np.testing.assert_allclose(model(x, flag), evaluate(guarded, {"x": x, "flag": flag})["z"], rtol=2e-5, atol=1e-5)
    assert len(model._programs) == 1
    graph.constants["flag"] = np.array(0)  # type: ignore[index]
    np.testing.assert_allclose(Model(with_guard(graph, "y1", "y0", "flag"))(x), model(x, OFF), rtol=2e-5, atol=1e-5)


def test_what_is_no_flag_is_refused() -> None:
    graph = residual()
    for flag, message in (
        ("", "a name for the flag"),
        ("x", "int64 of one element"),
        ("stem.w", "int64 of one element"),
    ):
        with pytest.raises(GraphError, match=message):
            with_guard(graph, "y1", "y0", flag)
    with pytest.raises(GraphError, match="swap them"):
        with_guard(graph, "y0", "y1", "flag")
