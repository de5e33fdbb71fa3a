"""A small network of classes as an ONNX file: Conv, Relu, GlobalAveragePool, Flatten, Gemm, and Softmax if wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_network(
    path: Path, classes: int = 2, *, head: str = "Gemm", softmax: bool = False, channels: int = 3, metadata: dict[str, str] | None = None
) -> Path:  # fmt: skip
    """A network of images (batch, C, 8, 9).

    head : Gemm, MatMul (and Add), or Conv (1x1, before the pool)
    """
    rng = np.random.default_rng(0)
    weights = {"w1": rng.standard_normal((24, channels, 3, 3)) / 5, "b1": rng.standard_normal(24) / 5}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
    ]
    dense = rng.standard_normal((classes, 24)) / 5
    out = "g" if softmax else "y"
    if head == "Conv":
        weights |= {"head.weight": dense[:, :, None, None], "head.bias": rng.standard_normal(classes) / 5}
        weights["shape"] = np.array([-1, classes])
        nodes += [
            helper.make_node("Conv", ["r", "head.weight", "head.bias"], ["s"], kernel_shape=[1, 1]),
            helper.make_node("GlobalAveragePool", ["s"], ["p"]),
            helper.make_node("Reshape", ["p", "shape"], [out]),
        ]
    else:
        nodes += [helper.make_node("GlobalAveragePool", ["r"], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]
        weights |= {"head.weight": dense if head == "Gemm" else dense.T, "head.bias": rng.standard_normal(classes) / 5}
        if head == "Gemm":
            nodes.append(helper.make_node("Gemm", ["f", "head.weight", "head.bias"], [out], transB=1))
        else:
            nodes.append(helper.make_node("MatMul", ["f", "head.weight"], ["m"]))
            nodes.append(helper.make_node("Add", ["m", "head.bias"], [out]))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["g"], ["y"], axis=1))
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, 8, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(v.astype(np.int64 if n == "shape" else np.float32), n) for n, v in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def write_detector(
    path: Path, outputs: dict[str, np.ndarray], size: tuple[int, int] = (64, 96), metadata: dict[str, str] | None = None
) -> Path:
    """A network of images (1, 3, H, W) that gives these arrays, whatever it sees."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0)]
    weights = [numpy_helper.from_array(np.float32(0), "nothing")]
    nodes.append(helper.make_node("Mul", ["mean", "nothing"], ["zero"]))
    infos = []
    for name, array in outputs.items():
        weights.append(numpy_helper.from_array(array, f"{name}.value"))
        zero = "zero"
        if array.dtype != np.float32:
            zero = f"{name}.zero"
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            nodes.append(helper.make_node("Cast", ["zero"], [zero], to=kind))
        nodes.append(helper.make_node("Add", [f"{name}.value", zero], [name]))
        infos.append(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), list(array.shape))
        )
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *size])]
    graph = helper.make_graph(nodes, "detector", inputs, infos, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path
