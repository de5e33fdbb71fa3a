"""Graphs that a hostile writer could sign: refused in one line, when the file is opened or when its shapes are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import alula
from alula.runtime.artifact import open_artifact, write_artifact, write_trainable
from alula.runtime.errors import AlulaError, ArtifactError
from alula.runtime.graph import Arrays, Graph, TensorSpec
from alula.runtime.model import Model

from .samples import node, parts, sections, signed, small_graph

Change = Callable[[dict[str, Any]], None]


def _inputs(place: int, *names: str) -> Change:
    """Let a node read other tensors."""
    return lambda graph: graph["nodes"][place].update(inputs=list(names))


def _stage(**fields: Any) -> Change:
    """Change the only stage of the convolution's epilogue."""
    return lambda graph: graph["nodes"][0]["fused"][0].update(fields)


def _second_stage(*inputs: str) -> Change:
    """Another stage behind the first."""

    def change(graph: dict[str, Any]) -> None:
        graph["nodes"][0]["fused"][0]["outputs"] = ["between"]
        graph["nodes"][0]["fused"].append({"op": "Add", "inputs": list(inputs), "outputs": ["a"]})

    return change


def _guard(**fields: Any) -> Change:
    return lambda graph: graph["nodes"][0].update(fields)


REFUSED_WHEN_OPENED: dict[str, Change] = {
    "a stage that reads nothing before it": _stage(inputs=["x"]),
    "a stage that reads what is nowhere": _stage(inputs=["lost|body"]),
    "a stage that ends elsewhere": _stage(outputs=["elsewhere"]),
    "a stage of two outputs": _stage(outputs=["a", "more"]),
    "a stage that reads a later one": _second_stage("between", "a"),
    "a stage that reads one long before it": _second_stage("between", "a|body"),
    "a name within an epilogue that is an input": lambda graph: graph["inputs"][0].update(name="a|body"),
    "a convolution without an input": _inputs(0, "", "weight", "bias"),
    "a convolution without a weight": _inputs(0, "x", ""),
    "a guard that is nowhere": _guard(guard="lost"),
    "a guard that is computed later": _guard(guard="b"),
    "otherwise a tensor that is nowhere": _guard(guard="flag", otherwise=["lost"]),
}


def _changed(content: bytes, change: Change) -> bytes:
    document, _ = parts(content)
    change(document["graphs"][0])
    return signed(document, sections(content))


@pytest.mark.parametrize("case", REFUSED_WHEN_OPENED)
def test_a_graph_is_validated_wholly_when_it_is_opened(case: str, tmp_path: Path) -> None:
    path = tmp_path / "m.alula"
    write_artifact(path, {"reader": small_graph()})
    path.write_bytes(_changed(path.read_bytes(), REFUSED_WHEN_OPENED[case]))
    with pytest.raises(ArtifactError) as caught:
        open_artifact(path)
    told = str(caught.value)
    assert told.startswith(str(path)) and ": expected " in told and ", got " in told and len(told.splitlines()) == 1


def test_what_the_data_size_has_no_epilogue(tmp_path: Path) -> None:
    nodes = (node("NonZero", "x", "places"), node("Identity", "places", "y"))
    path = tmp_path / "m.alula"
    write_artifact(path, {"net": Graph("net", {"x": TensorSpec((2, 3))}, ("y",), nodes)})

    def host(graph: dict[str, Any]) -> None:
        graph["nodes"][0]["fused"] = [{"op": "Relu", "inputs": ["places|body"], "outputs": ["places"]}]

    path.write_bytes(_changed(path.read_bytes(), host))
    with pytest.raises(ArtifactError, match="expected no epilogue of NonZero, whose size the data tell, got one"):
        open_artifact(path)


def trainable_graph() -> Graph:
    """A convolution with its normalisation, and a classifier that reads a transposed weight."""
    generator = np.random.default_rng(0)
    shapes = {"weight": (8, 3, 3, 4), "scale": (8,), "shift": (8,), "mean": (8,), "matrix": (10, 128)}
    constants = Arrays({name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})
    constants |= {"variance": np.ones(8, np.float32), "shape": np.array([-1, 128], np.int64)}
    nodes = (
        node("Conv", "x weight", "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1]),
        node("BatchNormalization", "a scale shift mean variance", "b"), node("Relu", "b", "c"),
        node("Reshape", "c shape", "d"), node("Transpose", "matrix", "turned", perm=[1, 0]), node("Gemm", "d turned", "y"),
    )  # fmt: skip
    return Graph("net", {"x": TensorSpec(("batch", 4, 4, 4))}, ("y",), nodes, constants)


# Which constant gets another shape. Passes meet these before any op has checked its shapes
RESHAPED = {"weight": [[], [9, 96], [1, 8, 3, 3, 4]], "mean": [[], [2, 4], [1, 8]], "matrix": [[], [1280], [2, 5, 128]]}


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name, shapes in RESHAPED.items() for shape in shapes])
def test_passes_refuse_constants_of_other_shapes_in_one_line(name: str, shape: list[int], tmp_path: Path) -> None:
    path = tmp_path / "m.alula"
    write_trainable(path, {"net": trainable_graph()})
    document, _ = parts(path.read_bytes())
    payloads = sections(path.read_bytes())
    index = document["graphs"][0]["constants"][name]
    values = np.ones(shape, np.float32)
    fields = {
        "coding": "plain",
        "dtype": "float32",
        "encoding": "raw",
        "shape": shape,
        "size": values.nbytes,
        "crc32": 0,
    }
    document["tensors"][index], payloads[index] = fields, values.tobytes()
    path.write_bytes(signed(document, payloads))
    x = np.ones((2, 4, 4, 4), np.float32)
    with pytest.raises(AlulaError, match="expected") as caught:
        alula.load(path, threads=1).run({"x": x})
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(AlulaError, match="expected"):
        alula.load(path, threads=1).trainer().step(x, np.zeros(2, np.int64))


def test_a_running_statistic_that_is_computed_is_refused_for_training(tmp_path: Path) -> None:
    path = tmp_path / "m.alula"
    write_trainable(path, {"net": trainable_graph()})
    swap = _inputs(1, "mean", "scale", "shift", "a", "variance")  # the result of the convolution as the mean
    path.write_bytes(_changed(path.read_bytes(), swap))
    with pytest.raises(AlulaError, match="expected the running statistics"):
        alula.load(path, threads=1).trainer()


@pytest.mark.parametrize("flag", [0, 1])
def test_what_an_absent_output_is_otherwise_changes_nothing(flag: int) -> None:
    made = replace(
        node("Split", "x", "y more", axis=1, num_outputs=2), outputs=("y", ""), guard="flag", otherwise=("z", "z")
    )
    inputs = {"x": TensorSpec((1, 4)), "z": TensorSpec((1, 2))}
    graph = Graph("net", inputs, ("y",), (made,), Arrays(flag=np.array([flag])))
    x, z = np.arange(4, dtype=np.float32).reshape(1, 4), np.full((1, 2), 9, np.float32)
    assert np.array_equal(Model(graph, threads=1).run({"x": x, "z": z})["y"], x[:, :2] if flag else z)
