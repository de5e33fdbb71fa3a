"""An ONNX model as a torch module: the oracle of gradients, and the rival in the training benchmark.

Layers are torch's own functions in torch's own layout (N, C, H, W); what follows from shapes and constants alone is
computed with NumPy on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

MIN_PARAMETER_SIZE = 2
Values = list[Any]


class TorchNetwork(torch.nn.Module):
    """A module with one parameter for each float initializer that training changes, by the model's names.

    training mode : batch normalisations use the batch, and keep running statistics (momentum 0.1 as torch counts)
    """

    def __init__(self, model: onnx.ModelProto, trained: Sequence[str] | None = None) -> None:
        super().__init__()
        self.nodes = list(model.graph.node)
        initial = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.inputs = [i.name for i in model.graph.input if i.name not in initial]
        self.outputs = [o.name for o in model.graph.output]
        self.fixed: dict[str, Any] = {}
        for node in self.nodes:
            if node.op_type == "Constant":
                initial[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
        self.nodes = [node for node in self.nodes if node.op_type != "Constant"]
        statistics = {name for n in self.nodes if n.op_type == "BatchNormalization" for name in n.input[3:5]}
        self.places: dict[str, str] = {}
        for name, array in initial.items():
            tensor = torch.from_numpy(np.array(array))
            learns = array.dtype == np.float32 and array.size >= MIN_PARAMETER_SIZE and name not in statistics
            if trained is not None:
                learns = name in trained
            if learns:
                self.places[name] = f"p{len(self.places)}"
                self.register_parameter(self.places[name], torch.nn.Parameter(tensor))
            elif name in statistics:
                self.places[name] = f"s{len(self.places)}"
                self.register_buffer(self.places[name], tensor)
            else:
                self.fixed[name] = tensor if array.dtype == np.float32 else array
        self.values_of = {node.output[0]: (RUN[node.op_type], attributes(node)) for node in self.nodes}

    def parameter(self, name: str) -> torch.nn.Parameter:
        """The parameter of the model's name."""
        return self.get_parameter(self.places[name])

    def double(self) -> TorchNetwork:
        """In float64, with all that is fixed."""
        self.fixed = {n: v.double() if isinstance(v, Tensor) else v for n, v in self.fixed.items()}
        super().double()
        return self

    def forward(self, *arrays: Tensor) -> Tensor:
        """The first output."""
        values: dict[str, Any] = dict(self.fixed) | dict(zip(self.inputs, arrays, strict=True))
        values.update((name, getattr(self, place)) for name, place in self.places.items())
        for node in self.nodes:
            run, attrs = self.values_of[node.output[0]]
            inputs = [values[name] if name else None for name in node.input]
            values[node.output[0]] = run(self, attrs, inputs)
        result: Tensor = values[self.outputs[0]]
        return result


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _conv(module: TorchNetwork, a: dict[str, Any], v: Values) -> Tensor:
    pads, rank = a.get("pads", [0, 0, 0, 0]), v[0].ndim - 2
    begin, end = pads[:rank], pads[rank:]
    x = v[0]
    if list(begin) != list(end):
        x = F.pad(x, [pads[1], pads[3], pads[0], pads[2]])
        begin = [0] * rank
    bias = v[2] if len(v) > 2 else None
    return F.conv2d(x, v[1], bias, a.get("strides", 1), tuple(begin), a.get("dilations", 1), a.get("group", 1))


def _batch_norm(module: TorchNetwork, a: dict[str, Any], v: Values) -> Tensor:
    return F.batch_norm(
        v[0], v[3], v[4], v[1], v[2], module.training, 1 - a.get("momentum", 0.9), a.get("epsilon", 1e-5)
    )


def _gemm(module: TorchNetwork, a: dict[str, Any], v: Values) -> Tensor:
    weight = v[1] if a.get("transB") else v[1].T
    return F.linear(v[0], weight, v[2] if len(v) > 2 else None)


def _pool(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(module: TorchNetwork, a: dict[str, Any], v: Values) -> Tensor:
        pads = a.get("pads", [0, 0, 0, 0])
        return function(v[0], a["kernel_shape"], a.get("strides", 1), tuple(pads[:2]))

    return run


def _slice(module: TorchNetwork, a: dict[str, Any], v: Values) -> Any:
    x, starts, ends = v[:3]
    axes = v[3] if len(v) > 3 and v[3] is not None else range(len(starts))
    index: list[slice] = [slice(None)] * x.ndim
    for start, end, axis in zip(starts, ends, axes, strict=True):
        index[int(axis)] = slice(int(start), min(int(end), 1 << 30))
    return x[tuple(index)]


def _concat(module: TorchNetwork, a: dict[str, Any], v: Values) -> Any:
    if isinstance(v[0], Tensor):
        return torch.cat(v, a["axis"])
    return np.concatenate(v, a["axis"])


def _clip(module: TorchNetwork, a: dict[str, Any], v: Values) -> Tensor:
    low, high = (float(x) if x is not None else None for x in (*v[1:], None, None)[:2])
    return torch.clamp(v[0], low, high)


def _reshape(module: TorchNetwork, a: dict[str, Any], v: Values) -> Tensor:
    shape = [v[0].shape[i] if int(d) == 0 else int(d) for i, d in enumerate(v[1])]
    result: Tensor = v[0].reshape(shape)
    return result


def _squeeze(module: TorchNetwork, a: dict[str, Any], v: Values) -> Any:
    axes = tuple(a["axes"]) if "axes" in a else tuple(int(i) for i in v[1])
    return v[0].squeeze(axes)


RUN: dict[str, Callable[[TorchNetwork, dict[str, Any], Values], Any]] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "MatMul": lambda m, a, v: v[0] @ v[1],
    "Relu": lambda m, a, v: F.relu(v[0]),
    "Sigmoid": lambda m, a, v: torch.sigmoid(v[0]),
    "HardSigmoid": lambda m, a, v: torch.clamp(v[0] * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1),
    "Clip": _clip,
    "Add": lambda m, a, v: v[0] + v[1],
    "Sub": lambda m, a, v: v[0] - v[1],
    "Mul": lambda m, a, v: v[0] * v[1],
    "Div": lambda m, a, v: v[0] / v[1],
    "Pow": lambda m, a, v: v[0] ** v[1],
    "Sqrt": lambda m, a, v: torch.sqrt(v[0]),
    "MaxPool": _pool(F.max_pool2d),
    "AveragePool": _pool(F.avg_pool2d),
    "GlobalAveragePool": lambda m, a, v: F.adaptive_avg_pool2d(v[0], 1),
    "Flatten": lambda m, a, v: torch.flatten(v[0], 1),
    "Identity": lambda m, a, v: v[0],
    "Softmax": lambda m, a, v: torch.softmax(v[0], a.get("axis", -1)),
    "Transpose": lambda m, a, v: v[0].permute(*a["perm"]),
    "ReduceMean": lambda m, a, v: v[0].mean(tuple(a["axes"]), keepdim=bool(a.get("keepdims", 1))),
    "Shape": lambda m, a, v: np.array(v[0].shape, np.int64),
    "Cast": lambda m, a, v: v[0],
    "Slice": _slice,
    "Concat": _concat,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
}
