"""Small ONNX models for the tests, and onnxruntime's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from alula.host.onnx.importer import import_onnx
from alula.runtime.graph import Array, Graph
from alula.runtime.planning.reference import evaluate


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Array],
    constants: dict[str, Array] | None = None,
    *,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 21,
    shapes: dict[str, list[int | str | None]] | None = None,
) -> onnx.ModelProto:
    """A model whose inputs have the shapes of the arrays, unless `shapes` says otherwise."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    infos = [
        helper.make_tensor_value_info(name, kinds[name], (shapes or {}).get(name, list(array.shape)))
        for name, array in inputs.items()
    ]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "net", infos, results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def node(op: str, inputs: str, outputs: str = "y", **attrs: Any) -> onnx.NodeProto:
    """A node; tensors are separated by spaces, an absent one is a dash."""
    absent = [["" if name == "-" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *absent, name=f"the_{op.lower()}" if outputs == "y" else f"to_{outputs}", **attrs)


def onnxruntime_answers(proto: onnx.ModelProto, inputs: dict[str, Array]) -> list[Array]:
    """The outputs by onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def assert_same_as_onnxruntime(proto: onnx.ModelProto, inputs: dict[str, Array], rtol: float = 1e-5) -> Graph:
    """Import, evaluate by the references, compare every output; return the graph."""
    graph = import_onnx(proto).graph
    found = evaluate(graph, inputs)
    for name, want in zip(graph.outputs, onnxruntime_answers(proto, inputs), strict=True):
        assert found[name].dtype == want.dtype
        np.testing.assert_allclose(found[name], want, rtol=rtol, atol=1e-5, err_msg=name)
    return graph
