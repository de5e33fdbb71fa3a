"""Ops that import as others, and those of opset 6, mean what onnxruntime (or ONNX's own reference) says they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from alula.host.onnx.importer import import_onnx
from alula.runtime.errors import GraphError
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.planning.reference import evaluate
from tests.host.onnx_models import assert_same_as_onnxruntime, model, node


def f32(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = {"x": f32(2, 6, 5, 7)}
POOL = {"kernel_shape": [2, 3], "strides": [2, 2]}
# (opset, op, attributes)
CASES: list[tuple[int, str, dict[str, Any]]] = [
    *((opset, op, {}) for opset in (7, 13, 21) for op in ("Selu", "Softsign")),
    (7, "Selu", {"alpha": 1.5, "gamma": 0.5}),
    (9, "Shrink", {}), (21, "Shrink", {"lambd": 0.7, "bias": 0.2}),
    (12, "Celu", {}), (21, "Celu", {"alpha": 1.7}),
    (10, "ThresholdedRelu", {}), (21, "ThresholdedRelu", {"alpha": 0.3}),
    (7, "Hardmax", {}), (11, "Hardmax", {"axis": 2}), (13, "Hardmax", {}), (21, "Hardmax", {"axis": 1}),
    (9, "MeanVarianceNormalization", {}), (13, "MeanVarianceNormalization", {"axes": [1, 3]}),
    (7, "LRN", {"size": 3}), (13, "LRN", {"size": 5, "alpha": 0.3, "beta": 0.6, "bias": 1.5}),
    (7, "GlobalLpPool", {}), (21, "GlobalLpPool", {"p": 3}), (21, "GlobalLpPool", {"p": 1}),
    (7, "LpPool", POOL), (11, "LpPool", {**POOL, "p": 1, "pads": [1, 0, 0, 2]}), (18, "LpPool", {**POOL, "p": 3, "dilations": [2, 1]}),
    (11, "LpPool", {**POOL, "auto_pad": "SAME_UPPER"}),
    (9, "TopK", {"k": 3}), (9, "TopK", {"k": 2, "axis": 1}), (21, "EyeLike", {"k": 1, "dtype": 7}),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "op", "attrs"), CASES, ids=lambda part: str(part).replace(" ", ""))
def test_an_op_that_imports_as_others_means_what_onnxruntime_says(opset: int, op: str, attrs: dict[str, Any]) -> None:
    inputs = {"x": f32(4, 5)} if op == "EyeLike" else X
    outputs = ("y", "i") if op == "TopK" else ("y",)
    proto = model([node(op, "x", " ".join(outputs), **attrs)], inputs, outputs=outputs, opset=opset)
    graph = assert_same_as_onnxruntime(proto, inputs)
    found = Model(optimise(graph)).run(inputs)
    for name, want in evaluate(graph, inputs).items():
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-5)


def test_windows_that_hang_over_the_end_take_what_is_there() -> None:
    attrs = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
    proto = model([node("LpPool", "x", p=1, **attrs)], {"x": f32(1, 2, 6, 8)}, opset=18)
    x = f32(1, 2, 6, 8)
    padded = np.pad(np.abs(x), ((0, 0), (0, 0), (0, 1), (0, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
    np.testing.assert_allclose(evaluate(import_onnx(proto).graph, {"x": x})["y"], windows.sum((-1, -2)), rtol=1e-5)


def test_integers_shrink_too() -> None:
    x = {"x": np.arange(-4, 5, dtype=np.int32)}
    proto = model([node("Shrink", "x", lambd=1.5, bias=1.0)], x)
    assert evaluate(import_onnx(proto).graph, x)["y"].tolist() == [-3, -2, -1, 0, 0, 0, 1, 2, 3]


def test_a_pool_is_undone_from_its_indices() -> None:
    x = {"x": f32(2, 3, 8, 6)}
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [node("MaxPool", "x", "p i", **attrs), node("MaxUnpool", "p i", **attrs)]
    free: dict[str, list[int | str | None]] = {"x": ["n", 3, "h", "w"]}
    for shapes in (None, free):
        assert_same_as_onnxruntime(model(nodes, x, opset=11, shapes=shapes), x)
    shape = {"s": np.array([2, 3, 9, 8])}
    proto = model([nodes[0], node("MaxUnpool", "p i s", **attrs)], x, shape, opset=11)
    (want,) = ReferenceEvaluator(proto).run(None, x)
    np.testing.assert_array_equal(evaluate(import_onnx(proto).graph, x)["y"], want)


def test_scatter_was_the_name_of_scatter_elements() -> None:
    inputs = {**X, "u": f32(1, 2, 3, 7)}
    index = np.random.default_rng(1).permutation(6)[:2].reshape(1, 2, 1, 1).repeat(3, 2).repeat(7, 3)
    for opset in (9, 10):
        assert_same_as_onnxruntime(model([node("Scatter", "x i u", axis=1)], inputs, {"i": index}, opset=opset), inputs)


def _opset_6(op: str, first: Array, second: Array, **attrs: Any) -> Array:
    names = {"a": first, "b": second}
    proto = model([node(op, "a b", **attrs)], names, opset=6)
    return evaluate(import_onnx(proto).graph, names)["y"]


def test_opset_6_lines_up_the_second_tensor_at_an_axis() -> None:
    x, channels, picture = f32(2, 3, 4, 5), f32(3), f32(3, 4)
    assert np.array_equal(_opset_6("Add", x, channels, broadcast=1, axis=1), x + channels[:, None, None])
    assert np.array_equal(_opset_6("Mul", x, picture, broadcast=1, axis=-3), x * picture[:, :, None])
    assert np.array_equal(_opset_6("Sub", x, f32(4, 5), broadcast=1), x - f32(4, 5))
    assert np.array_equal(_opset_6("Less", x, f32(1), broadcast=1, axis=0), x < f32(1))
    assert np.array_equal(_opset_6("PRelu", x, channels), np.where(x < 0, x * channels[:, None, None], x))
    assert np.array_equal(_opset_6("PRelu", x, f32(1)), np.where(x < 0, x * f32(1), x))


def test_what_opset_6_wrote_otherwise_is_read() -> None:
    x = f32(1, 2, 3, 4)
    up = model([node("Upsample", "x", height_scale=2.0, width_scale=3.0)], {"x": x}, opset=6)
    assert np.array_equal(evaluate(import_onnx(up).graph, {"x": x})["y"], x.repeat(2, 2).repeat(3, 3))
    gemm = model([node("Gemm", "a b c", broadcast=1)], {"a": f32(2, 3), "b": f32(3, 4), "c": f32(4)}, opset=6)
    inputs = {"a": f32(2, 3), "b": f32(3, 4), "c": f32(4)}
    np.testing.assert_allclose(
        evaluate(import_onnx(gemm).graph, inputs)["y"], f32(2, 3) @ f32(3, 4) + f32(4), rtol=1e-5
    )


def test_what_cannot_be_written_as_others_is_refused() -> None:
    free = {"x": ["n", "c", "h", "w"]}
    for op, attrs, reason in (
        ("Celu", {"alpha": 0.0}, "alpha above 0"),
        ("LRN", {"size": 3}, "known channels"),
        ("LpPool", {**POOL, "ceil_mode": 1}, "known height and width"),
        ("LRN", {"size": 0}, "size of 1 or more"),
    ):
        shapes: Any = free if "known" in reason else None
        with pytest.raises(GraphError, match=reason):
            import_onnx(model([node(op, "x", **attrs)], X, shapes=shapes))


def test_a_dropout_in_training_that_drops_nothing_is_the_identity() -> None:
    feeds = {**X, "r": np.array(0, np.float32), "t": np.array(True)}
    graph = import_onnx(model([node("Dropout", "x r t", "y m")], feeds, outputs=("y", "m"))).graph
    found = Model(optimise(graph)).run(feeds)
    assert np.array_equal(found["y"], X["x"]) and found["m"].all()
    with pytest.raises(GraphError, match="training_mode"):
        Model(optimise(graph)).run({**feeds, "r": np.array(0.5, np.float32)})
