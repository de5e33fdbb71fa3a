"""One node through onnxruntime, the oracle of our references. Its tensors are channels first, ours channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from alula.runtime import ops
from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.ops.contract import REGISTRY


def onnxruntime_node(
    op: str, inputs: Sequence[Array | None], attrs: dict[str, Any], n_outputs: int = 1, opset: int = 21
) -> list[Array]:
    """Outputs of a single node, in ONNX's own layout."""
    names = [f"x{i}" if value is not None else "" for i, value in enumerate(inputs)]
    feeds = {name: value for name, value in zip(names, inputs, strict=True) if value is not None}
    outputs = [f"y{i}" for i in range(n_outputs)]
    node = helper.make_node(op, names, outputs, **attrs)
    graph = helper.make_graph(
        [node],
        op,
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def ours(op: str, inputs: Sequence[Array | None], attrs: dict[str, Any]) -> tuple[Array, ...]:
    """Outputs of the NumPy reference, after checking that `infer` foretells their shapes and dtypes."""
    made = REGISTRY[op].make_attrs(attrs, "test")
    outputs = REGISTRY[op].reference(made, *inputs)
    foretold = inferred(op, inputs, attrs)
    assert [spec.dims for spec in foretold] == [y.shape for y in outputs]
    assert [spec.dtype for spec in foretold] == [y.dtype.name for y in outputs]
    return outputs


def inferred(op: str, inputs: Sequence[Array | None], attrs: dict[str, Any]) -> tuple[TensorSpec, ...]:
    """Output specs by the op's own rule, static inputs known."""
    contract = REGISTRY[op]
    node = Node(op, tuple(f"x{i}" for i in range(len(inputs))), ("y",), contract.make_attrs(attrs, "test"), "stem")
    specs = [None if value is None else TensorSpec.of(value) for value in inputs]
    values = [value if i in contract.static_inputs else None for i, value in enumerate(inputs)]
    return ops.infer(node, specs, values)


def channels_last(x: Array) -> Array:
    """(N, C, *spatial) to (N, *spatial, C)."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def channels_first(x: Array) -> Array:
    """(N, *spatial, C) to (N, C, *spatial)."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def close(got: Array, wanted: Array, terms: int = 1) -> None:
    """Equal but for float32's rounding of a sum of that many terms."""
    scale = float(np.abs(wanted).max(initial=1e-6, where=np.isfinite(wanted)))
    eps = float(np.finfo(wanted.dtype).eps) if wanted.dtype.kind == "f" else 0.0
    np.testing.assert_allclose(got, wanted, rtol=8 * eps, atol=(4 + terms**0.5) * 2 * eps * scale)
