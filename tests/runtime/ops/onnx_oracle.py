"""One node through onnxruntime, or through ONNX's own reference where onnxruntime has no such kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from alula.runtime import ops
from alula.runtime.graph import Array, TensorSpec

TOLERANCE = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-12}  # relative; one or two roundings


def onnx_outputs(op: str, attrs: dict[str, Any], inputs: list[Array | None], n_outputs: int) -> list[Array]:
    """What ONNX says that a node gives."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    given = {name: np.ascontiguousarray(x).reshape(x.shape) for name, x in zip(names, inputs) if x is not None}
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in given.items()
    ]
    outputs = [f"y{i}" for i in range(n_outputs)]
    node = helper.make_node(op, names, outputs, **{k: _onnx_value(k, v) for k, v in attrs.items() if k != "dtype"})
    if op == "ConstantOfShape":
        node = helper.make_node(
            op, names, outputs, value=numpy_helper.from_array(np.array([attrs["value"]], attrs["dtype"]))
        )
    untyped = [helper.make_value_info(name, onnx.TypeProto()) for name in outputs]
    opset = helper.make_opsetid("", 24 if op == "Swish" else 21)
    model = helper.make_model(helper.make_graph([node], "case", infos, untyped), opset_imports=[opset], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except (ort_errors.NotImplemented, ort_errors.InvalidGraph, ort_errors.Fail):
        with np.errstate(all="ignore"):
            return [np.asarray(y) for y in ReferenceEvaluator(model).run(None, given)]
    return [np.asarray(y) for y in session.run(None, given)]


def _onnx_value(name: str, value: Any) -> Any:
    """Our attribute as ONNX writes it: a dtype is a number there."""
    if name in ("to", "output_dtype"):
        return getattr(TensorProto, {"float32": "FLOAT", "float64": "DOUBLE"}.get(value, value.upper()))
    return value


def evaluate(op: str, attrs: dict[str, Any], inputs: list[Array | None]) -> list[Array]:
    """What our reference gives, after checking that `infer` foretold its shapes and dtypes."""
    found = ops.find(op, "test")
    made = found.make_attrs(attrs, "test")
    assert found.n_inputs[0] <= len(inputs) <= found.n_inputs[1]
    specs = [None if x is None else TensorSpec.of(x) for x in inputs]
    values = [x if i in found.static_inputs else None for i, x in enumerate(inputs)]
    foretold = found.infer(made, specs, values)
    outputs = found.reference(made, *inputs)
    assert all(isinstance(y, np.ndarray) for y in outputs)
    assert foretold == tuple(TensorSpec.of(y) for y in outputs)
    return list(outputs)


def check(op: str, attrs: dict[str, Any], *inputs: Array | None, tolerance: float | None = None) -> None:
    """Our reference, and the specs that `infer` foretells, against ONNX."""
    ours = evaluate(op, attrs, list(inputs))
    theirs = onnx_outputs(op, attrs, list(inputs), len(ours))
    assert len(ours) == len(theirs)
    for y, expected in zip(ours, theirs):
        assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
        if y.dtype.kind == "f":
            bound = tolerance or TOLERANCE[y.dtype.name]
            np.testing.assert_allclose(y, expected, rtol=bound, atol=bound)
        else:
            np.testing.assert_array_equal(y, expected)


def sample(rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "float32") -> Array:
    """Random values that straddle zero where the dtype has signs."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith("float"):
        return np.asarray(rng.normal(0, 3, shape)).astype(dtype)
    return rng.integers(0 if dtype[0] == "u" else -20, 20, shape).astype(dtype)
