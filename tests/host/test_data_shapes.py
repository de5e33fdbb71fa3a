"""Shapes that depend on data: in segments, each planned when what decides its shapes was computed, as onnxruntime answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import alula
from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack
from alula.runtime.errors import GraphError, ShapeError
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.planning.segments import needs_segments
from alula.runtime.train import MSE, Trainer
from tests.host.onnx_models import model, node, onnxruntime_answers
from tests.runtime.ops.onnx_oracle import check


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize(
    "limits", [(3, 0.5, None), (50, 0.3, 0.2), (50, 0.0, 0.9), (1, 1.0, -1.0), (0, 0.5, None), (7, None, None)]
)
def test_boxes_are_kept_as_by_onnxruntime(center: int, limits: tuple[float | None, ...]) -> None:
    rng = np.random.default_rng(center)
    boxes = rng.random((2, 40, 4), np.float32)
    boxes[:, 5] = boxes[:, 6]  # the same box twice, and one without area
    boxes[:, 7, 2:] = 0 if center else boxes[:, 7, :2]
    scores = np.round(rng.random((2, 3, 40), np.float32), 1)  # with ties
    arrays = [
        None if x is None else np.array([x], kind)
        for x, kind in zip(limits, ("int64", "float32", "float32"), strict=True)
    ]
    while arrays and arrays[-1] is None:
        arrays.pop()
    check("NonMaxSuppression", {"center_point_box": center}, boxes, scores, *arrays)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_places_of_what_is_not_zero(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, (3, 4, 2)).astype(dtype)
    check("NonZero", {}, x)
    check("NonZero", {}, np.array(3).astype(dtype))
    check("NonZero", {}, np.zeros((2, 0), dtype))


def detector() -> onnx.ModelProto:
    """A convolution, its best boxes, what belongs to them, and how many they are."""
    nodes = [
        node("Conv", "x w", "c", pads=[1] * 4), node("Reshape", "c flat", "rows"), node("Sigmoid", "rows", "p"),
        node("Slice", "p zero four two", "boxes_t"), node("Transpose", "boxes_t", "boxes", perm=[0, 2, 1]),
        node("Slice", "p four six two", "scores"), node("NonMaxSuppression", "boxes scores most iou", "kept"),
        node("Gather", "kept second", "numbers", axis=1), node("Reshape", "numbers all", "list"),
        node("Gather", "boxes list", "found", axis=1), node("Shape", "found", "shape"), node("Relu", "found", "y"),
    ]  # fmt: skip
    constants = {"w": normal(6, 3, 3, 3), "flat": np.array([0, 6, -1]), "most": np.array([5]), "iou": np.array([0.4], np.float32),
                 "second": np.array([2]), "all": np.array([-1]), "zero": np.array([0]), "two": np.array([1]),
                 "four": np.array([4]), "six": np.array([6])}  # fmt: skip
    return model(
        nodes,
        {"x": normal(1, 3, 6, 5)},
        constants,
        outputs=("y", "kept", "shape", "p"),
        shapes={"x": [1, 3, "h", "w"]},
        opset=17,
    )


def sizes() -> onnx.ModelProto:
    """Reshape, Slice, Range, Expand, ConstantOfShape, Tile, TopK and NonZero of what is computed."""
    nodes = [
        node("Relu", "x", "r"), node("NonZero", "r", "places"), node("Shape", "places", "s"), node("Gather", "s one", "n"),
        node("Range", "zero n one", "range"), node("Cast", "range", "floats", to=1),
        node("Div", "n two", "h"), node("Reshape", "h list", "half"), node("TopK", "floats half", "best where"),
        node("ReduceMax", "x", "m", keepdims=0), node("Cast", "m", "whole", to=7), node("Add", "whole one", "k"),
        node("Reshape", "k list", "size"), node("ConstantOfShape", "size", "zeros"), node("Expand", "e size", "wide"),
        node("Add", "zeros wide", "sum"), node("Tile", "sum size", "tiled"), node("Slice", "tiled start size", "y"),
        node("ReduceSum", "x axis", "total"),
    ]  # fmt: skip
    constants = {"zero": np.array(0), "one": np.array(1), "two": np.array(2), "list": np.array([1]), "start": np.array([0]),
                 "e": np.array([2.5], np.float32), "axis": np.array([0])}  # fmt: skip
    return model(
        nodes,
        {"x": normal(4, 5)},
        constants,
        outputs=("y", "best", "places", "total", "range"),
        shapes={"x": ["n", 5]},
        opset=17,
    )


CASES = {
    "detector": (detector(), [{"x": normal(1, 3, h, 5, seed=h)} for h in (6, 9, 6)]),
    "sizes": (sizes(), [{"x": 3 * np.abs(normal(n, 5, seed=n)) * np.sign(normal(n, 5))} for n in (4, 5, 4, 9)]),
}


@pytest.mark.parametrize("name", CASES)
def test_networks_answer_as_onnxruntime_from_their_file(name: str, tmp_path: Path) -> None:
    proto, feeds = CASES[name]
    pack({"net": import_onnx(proto)}, tmp_path / "net.alula")
    network = alula.load(tmp_path / "net.alula")
    for feed in feeds:
        found = network.run(feed)
        for output, want in zip(network.outputs, onnxruntime_answers(proto, feed), strict=True):
            assert (found[output].dtype, found[output].shape) == (want.dtype, want.shape), output
            np.testing.assert_allclose(found[output], want, rtol=1e-4, atol=1e-5, err_msg=output)
    assert network.run_all(feeds[0]).keys() >= set(network.outputs)


def test_training_and_plans_without_data_refuse_such_networks_by_name() -> None:
    graph = import_onnx(detector()).graph
    with pytest.raises(GraphError, match=r"to_kept \(NonMaxSuppression\): expected shapes that follow"):
        Model(graph).program({"x": (1, 3, 6, 5)})
    with pytest.raises(GraphError, match=r"to_kept \(NonMaxSuppression\): expected shapes and branches that follow"):
        Trainer(graph, loss=MSE()).step(normal(1, 3, 6, 5), normal(1, 5, 4))


def test_what_shapes_decide_is_one_program() -> None:
    """NonZero of a constant shape, as exporters write ones_like(x).nonzero()."""
    nodes = [node("Shape", "x", "s"), node("ConstantOfShape", "s", "ones", value=onnx.numpy_helper.from_array(np.ones(1, np.int64))),
             node("NonZero", "ones", "y")]  # fmt: skip
    proto = model(nodes, {"x": normal(2, 3)}, shapes={"x": ["n", 3]}, opset=17)
    graph = import_onnx(proto).graph
    assert not needs_segments(graph)
    np.testing.assert_array_equal(Model(graph)(normal(4, 3)), onnxruntime_answers(proto, {"x": normal(4, 3)})[0])


def test_info_says_that_it_is_planned_while_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from alula.cli import main

    pack({"net": import_onnx(detector())}, tmp_path / "net.alula")
    assert main(["info", str(tmp_path / "net.alula"), "--shape", "1,3,6,5"]) == 0
    assert "planned while it runs, since shapes depend on data: to_kept (NonMaxSuppression)" in capsys.readouterr().out


def test_boxes_of_another_shape_are_refused_when_the_network_is_planned() -> None:
    nodes = [node("Sigmoid", "x", "p"), node("NonMaxSuppression", "p s most", "y")]
    proto = model(
        nodes,
        {"x": normal(1, 5, 3)},
        {"s": normal(1, 2, 5), "most": np.array([3])},
        shapes={"x": [1, "n", "k"]},
        opset=17,
    )
    with pytest.raises(
        ShapeError, match=r"the_nonmaxsuppression \(NonMaxSuppression\): expected boxes \(BATCH, N, 4\)"
    ):
        Model(import_onnx(proto).graph)(normal(1, 5, 3))
