"""ONNX out: the model that is written computes what the graph does, in onnxruntime, in ONNX's order."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from alula.host.onnx.exporter import export_onnx
from alula.host.onnx.importer import import_onnx
from alula.host.zoo import ZOO, build
from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, Node
from alula.runtime.ops.contract import NoAttrs
from alula.runtime.passes import optimise
from tests.host.onnx_models import model, node, onnxruntime_answers


def f32(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


IMAGE = {"x": f32(2, 6, 8, 10)}
W, ONE_BY_ONE = f32(6, 6, 3, 3, seed=1), f32(6, 6, 1, 1, seed=2)
THREE = onnx.numpy_helper.from_array(i64(3))
NETS: dict[str, tuple[list[onnx.NodeProto], dict[str, Array]]] = {
    "squeeze and excitation": (
        [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("GlobalAveragePool", "c", "g"), node("Conv", "g u", "h"),
         node("HardSigmoid", "h", "s"), node("Mul", "c s", "m"), node("Relu", "m")],
        {"w": W, "u": ONE_BY_ONE},
    ),
    "swish and a slope a channel": (
        [node("Conv", "x w", "c"), node("Sigmoid", "c", "s"), node("Mul", "c s", "m"), node("PRelu", "m p")],
        {"w": W, "p": f32(6, 1, 1)},
    ),
    "pyramid": (
        [node("Conv", "x w", "c", strides=[2, 2], pads=[1, 1, 1, 1]), node("Resize", "c - f", "r", mode="linear"),
         node("Concat", "r x", "k", axis=1), node("Pad", "k p", "q"), node("ReduceMean", "q a", "m"), node("Sub", "q m")],
        {"w": W, "f": np.array([1, 1, 2, 2], np.float32), "p": i64(0, 0, 1, 2, 0, 0, 3, 0), "a": i64(1)},
    ),
    "attention over pixels": (
        [node("Conv", "x w", "c"), node("Reshape", "c s", "r"), node("Transpose", "r", "t", perm=[0, 2, 1]),
         node("MatMul", "t m", "a"), node("Softmax", "a")],
        {"w": W, "s": i64(0, 6, -1), "m": f32(6, 5)},
    ),
    "split along the channels": (
        [node("Conv", "x w", "c"), node("Split", "c", "a b", axis=1, num_outputs=2), node("Mul", "a b", "m"), node("Softmax", "m", axis=1)],
        {"w": W},
    ),
    "two outputs of one tensor": ([node("Conv", "x w", "z"), node("Identity", "z")], {"w": W}),
    "transposed convolution and batch norm": (
        [node("ConvTranspose", "x w", "c", strides=[2, 2]), node("BatchNormalization", "c s b m v", "n"), node("Clip", "n low high")],
        {"w": W, "s": f32(6), "b": f32(6), "m": f32(6), "v": np.ones(6, np.float32), "low": np.float32(0), "high": np.float32(6)},
    ),
    "numbers of other kinds": (
        [node("Cast", "x", "i", to=onnx.TensorProto.INT64), node("Shape", "x", "s"), node("ConstantOfShape", "s", "o", value=THREE),
         node("Add", "i o")],
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("optimised", [False, True], ids=["as imported", "optimised"])
@pytest.mark.parametrize("case", NETS)
def test_export_gives_the_same_outputs_in_onnxruntime(case: str, optimised: bool) -> None:
    nodes, constants = NETS[case]
    outputs = ("y", "z") if "two outputs" in case else ("y",)
    proto = model(nodes, IMAGE, constants, outputs=outputs, shapes={"x": ["n", 6, "h", "w"]})
    graph = import_onnx(proto).graph
    written = export_onnx(optimise(graph) if optimised else graph)
    assert [o.name for o in written.graph.output] == list(outputs) and written.opset_import[0].version == 21
    for got, want in zip(onnxruntime_answers(written, IMAGE), onnxruntime_answers(proto, IMAGE), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["lenet-5", "resnet20-cifar", "mobilenetv2-cifar"])
def test_a_network_comes_back_without_transposes(name: str) -> None:
    proto = build(name)
    x = {"input": f32(2, *ZOO[name].input_shape)}
    (want,) = onnxruntime_answers(proto, x)
    for graph in (import_onnx(proto).graph, optimise(import_onnx(proto).graph)):
        written = export_onnx(graph)
        transposes = Counter(n.op_type for n in written.graph.node)["Transpose"]
        assert transposes <= 1  # one may be left before the classifier
        (got,) = onnxruntime_answers(written, x)
        assert np.abs(got - want).max() <= 1e-5 * np.ptp(want)


def test_the_file_and_its_metadata_can_be_imported_again(tmp_path: Path) -> None:
    graph = import_onnx(build("lenet-5")).graph
    export_onnx(graph, tmp_path / "net.onnx", {"labels": "a\nb"})
    again = import_onnx(tmp_path / "net.onnx")
    assert again.metadata == {"labels": "a\nb"} and again.graph.inputs == graph.inputs
    for name in graph.constants:
        np.testing.assert_array_equal(again.graph.constants[name], graph.constants[name])


def test_an_op_that_onnx_lacks_is_refused() -> None:
    graph = import_onnx(model([node("Relu", "x")], {"x": f32(2)})).graph
    strange = dataclasses.replace(graph, nodes=(Node("ShiftConv", ("x",), ("y",), NoAttrs(), "odd"),))
    with pytest.raises(GraphError, match="odd"):
        export_onnx(strange)
