"""The files that `tests.bench.hostile` mutates: small networks of many kinds, as ONNX models and packed in several ways."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack
from alula.runtime.artifact.task import Task, with_tasks
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.graph import Graph
from alula.runtime.passes.guards import with_guard

Shape = list[int | str]


@dataclass(frozen=True)
class Packing:
    """How a network is packed for mutation. guard : (output, otherwise) of the block that a flag skips"""

    network: str
    bits: int | None = None
    trainable: bool = False
    guard: tuple[str, str] | None = None


PACKINGS = {
    "conv": Packing("conv"),
    "conv, 4 bits": Packing("conv", bits=4),
    "conv, 8 bits": Packing("conv", bits=8),
    "conv, trainable": Packing("conv", trainable=True),
    "guarded": Packing("conv", guard=("sum", "r1")),
    "guarded, trainable": Packing("conv", trainable=True, guard=("sum", "r1")),
    "recurrent": Packing("recurrent"),
    "recurrent, trainable": Packing("recurrent", trainable=True),
    "detector": Packing("detector"),
    "attention": Packing("attention"),
    "attention, trainable": Packing("attention", trainable=True),
    "integer": Packing("integer"),
    "branches": Packing("branches"),
    "found": Packing("found"),
}


class _Network:
    """Nodes and weights of a model under construction."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: str, outputs: str, **attrs: Any) -> None:
        """A node; tensors are separated by blanks, an absent one is a dash."""
        names = [["" if name == "-" else name for name in text.split()] for text in (inputs, outputs)]
        self.nodes.append(helper.make_node(op, *names, name=f"{op}_{len(self.nodes)}", **attrs))

    def weight(self, name: str, *shape: int) -> None:
        """Random float32."""
        self.constant(name, self.generator.normal(size=shape).astype(np.float32) * np.float32(0.3))

    def constant(self, name: str, value: Any, dtype: str | None = None) -> None:
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))

    def body(self, name: str, *outputs: str) -> onnx.GraphProto:
        """A graph without inputs, as a branch is."""
        return helper.make_graph(
            self.nodes, name, [], [onnx.ValueInfoProto(name=output) for output in outputs], self.weights
        )

    def model(self, name: str, inputs: dict[str, Shape], outputs: list[str]) -> onnx.ModelProto:
        """All of it, opset 21."""
        infos = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in inputs.items()]
        graph = self.body(name, *outputs)
        graph.input.extend(infos)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _conv() -> onnx.ModelProto:
    """Convolutions with epilogues, a residual block, a pool, a classifier."""
    net = _Network(0)
    net.weight("w0", 16, 3, 3, 3)
    net.weight("b0", 16)
    net.add("Conv", "x w0 b0", "c0", pads=[1, 1, 1, 1])
    for name in ("scale", "shift", "mean"):
        net.weight(name, 16)
    net.constant("var", np.ones(16), "float32")
    net.add("BatchNormalization", "c0 scale shift mean var", "n0")
    net.add("Relu", "n0", "r0")
    net.weight("w1", 16, 1, 3, 3)
    net.add("Conv", "r0 w1", "c1", pads=[1, 1, 1, 1], group=16)
    net.add("HardSwish", "c1", "r1")
    net.weight("w2", 16, 16, 1, 1)
    net.add("Conv", "r1 w2", "c2")
    net.add("Sigmoid", "c2", "s2")
    net.add("Add", "s2 r1", "sum")
    net.constant("low", 0, "float32")
    net.constant("high", 6, "float32")
    net.add("Clip", "sum low high", "r2")
    net.add("MaxPool", "r2", "p2", kernel_shape=[2, 2], strides=[2, 2])
    net.weight("w3", 16, 4, 2, 2)
    net.add("ConvTranspose", "p2 w3", "c3", strides=[2, 2])
    net.constant("two", 2, "float32")
    net.add("Pow", "c3 two", "q3")
    net.add("GlobalAveragePool", "q3", "g")
    net.add("Flatten", "g", "f")
    net.weight("w4", 10, 4)
    net.weight("b4", 10)
    net.add("Gemm", "f w4 b4", "y", transB=1)
    return net.model("conv", {"x": ["batch", 3, 8, 8]}, ["y"])


def _recurrent() -> onnx.ModelProto:
    """An LSTM without Y, a GRU, a classifier."""
    net = _Network(1)
    net.weight("w", 1, 24, 5)
    net.weight("r", 1, 24, 6)
    net.weight("b", 1, 48)
    net.add("LSTM", "x w r b", "- h", hidden_size=6)
    net.weight("gw", 2, 18, 5)
    net.weight("gr", 2, 18, 6)
    net.add("GRU", "x gw gr", "gy gh", hidden_size=6, direction="bidirectional")
    net.constant("first", [0], "int64")
    net.add("Squeeze", "h first", "h1")
    net.add("ReduceMean", "gh first", "h2", keepdims=0)
    net.add("Concat", "h1 h2", "both", axis=-1)
    net.weight("wy", 12, 7)
    net.add("MatMul", "both wy", "y")
    return net.model("recurrent", {"x": [4, "batch", 5]}, ["y"])


def _detector() -> onnx.ModelProto:
    """Heads of two scales, boxes and scores, and what is computed from shapes."""
    net = _Network(2)
    net.weight("w0", 8, 3, 3, 3)
    net.add("Conv", "x w0", "c0", pads=[1, 1, 1, 1], strides=[2, 2])
    net.constant("slope", [0.1], "float32")
    net.add("PRelu", "c0 slope", "a0")
    net.constant("scales", [1, 1, 2, 2], "float32")
    net.add("Resize", "a0 - scales", "up", mode="nearest")
    net.weight("w1", 6, 8, 1, 1)
    net.add("Conv", "a0 w1", "head0")
    net.add("Conv", "up w1", "head1")
    net.add("Shape", "x", "shape")
    net.constant("zero", 0, "int64")
    net.add("Gather", "shape zero", "n", axis=0)
    net.constant("axes", [0], "int64")
    net.add("Unsqueeze", "n axes", "n1")
    net.constant("rest", [6, -1], "int64")
    net.add("Concat", "n1 rest", "target", axis=0)
    for index in (0, 1):
        net.add("Reshape", f"head{index} target", f"flat{index}")
    net.add("Concat", "flat0 flat1", "all", axis=2)
    net.add("Transpose", "all", "rows", perm=[0, 2, 1])
    net.constant("parts", [4, 2], "int64")
    net.add("Split", "rows parts", "boxes logits", axis=2)
    net.add("Sigmoid", "logits", "scores")
    net.add("ArgMax", "scores", "best", axis=2, keepdims=0)
    net.constant("starts", [2], "int64")
    net.constant("ends", [4], "int64")
    net.constant("axis", [2], "int64")
    net.add("Slice", "boxes starts ends axis", "size")
    net.add("Exp", "size", "grown")
    net.constant("pads", [0, 1, 0, 0, 1, 0], "int64")
    net.add("Pad", "grown pads", "padded")
    net.add("Greater", "scores slope", "is_good")
    net.add("Where", "is_good scores slope", "kept")
    return net.model("detector", {"x": [1, 3, "height", "width"]}, ["padded", "kept", "best"])


def _attention() -> onnx.ModelProto:
    """One block of a transformer."""
    net = _Network(3)
    for name in ("gain", "shift"):
        net.weight(name, 8)
    net.add("LayerNormalization", "x gain shift", "n", axis=-1)
    for name in "qkv":
        net.weight(f"w{name}", 8, 8)
        net.add("MatMul", f"n w{name}", name)
    net.add("Transpose", "k", "kt", perm=[0, 2, 1])
    net.add("MatMul", "q kt", "dots")
    net.constant("root", 8**0.5, "float32")
    net.add("Div", "dots root", "scaled")
    net.add("Softmax", "scaled", "weights", axis=-1)
    net.add("MatMul", "weights v", "mixed")
    net.add("Add", "mixed x", "sum")
    net.add("Gelu", "sum", "g")
    net.constant("middle", [1], "int64")
    net.add("ReduceMean", "g middle", "pooled", keepdims=0)
    net.weight("wy", 8, 5)
    net.weight("by", 5)
    net.add("Gemm", "pooled wy by", "y")
    return net.model("attention", {"x": ["batch", "length", 8]}, ["y"])


def _integer() -> onnx.ModelProto:
    """Quantised convolutions."""
    net = _Network(4)
    net.constant("s", 0.05, "float32")
    net.constant("z", 128, "uint8")
    net.add("QuantizeLinear", "x s z", "q")
    net.constant("w", net.generator.integers(-90, 90, (8, 3, 3, 3)), "int8")
    net.constant("ws", 0.01, "float32")
    net.constant("wz", 0, "int8")
    net.constant("bias", net.generator.integers(-90, 90, 8), "int32")
    net.add("QLinearConv", "q s z w ws wz s z bias", "c", pads=[1, 1, 1, 1])
    net.add("DequantizeLinear", "c s z", "d")
    net.add("Relu", "d", "y")
    return net.model("integer", {"x": ["batch", 3, 6, 6]}, ["y"])


def _branches() -> onnx.ModelProto:
    """An If whose condition is known only when the network runs; what its branches give has one shape."""
    net, small, large = _Network(5), _Network(6), _Network(7)
    for branch, kernel in ((small, 1), (large, 3)):
        branch.weight(f"w{kernel}", 4, 3, kernel, kernel)
        branch.add("Conv", f"x w{kernel}", f"c{kernel}", pads=[kernel // 2] * 4)
        branch.add("Relu", f"c{kernel}", f"r{kernel}")
    net.constant("zero", 0, "float32")
    net.constant("axes", [0, 1, 2, 3], "int64")
    net.add("ReduceMean", "x axes", "mean", keepdims=0)
    net.add("Greater", "mean zero", "is_bright")
    net.add("If", "is_bright", "features", then_branch=small.body("small", "r1"), else_branch=large.body("large", "r3"))
    net.add("GlobalAveragePool", "features", "y")
    return net.model("branches", {"x": ["batch", 3, 6, 6]}, ["y"])


def _found() -> onnx.ModelProto:
    """Boxes that a NonMaxSuppression chooses: shapes that only the data tell."""
    net = _Network(8)
    net.constant("parts", [4, 2], "int64")
    net.add("Split", "x parts", "boxes logits", axis=2)
    net.add("Sigmoid", "logits", "s")
    net.add("Transpose", "s", "scores", perm=[0, 2, 1])
    net.constant("most", [5], "int64")
    net.constant("overlap", [0.5], "float32")
    net.constant("least", [0.3], "float32")
    net.add("NonMaxSuppression", "boxes scores most overlap least", "chosen")
    net.constant("column", 2, "int64")
    net.add("Gather", "chosen column", "places", axis=1)
    net.add("Gather", "boxes places", "y", axis=1)
    return net.model("found", {"x": [1, 12, 6]}, ["y", "chosen"])


NETWORKS = {"conv": _conv, "recurrent": _recurrent, "detector": _detector, "attention": _attention, "integer": _integer,
            "branches": _branches, "found": _found}  # fmt: skip
TASK = Task(classes=tuple("abcdefghiß"), preprocessing=Preprocessing(size=(8, 8), mean=(0.5,), std=(0.25,)))


def models() -> dict[str, onnx.ModelProto]:
    """The networks as ONNX models."""
    return {name: make() for name, make in NETWORKS.items()}


def _guarded(graph: Graph, guard: tuple[str, str]) -> Graph:
    return with_guard(graph, *guard, "flag")


def write_bases(folder: Path) -> dict[str, bytes]:
    """The packed networks, and one file with two graphs."""
    graphs = {name: import_onnx(model).graph for name, model in models().items()}
    files = {}
    for name, how in PACKINGS.items():
        graph = graphs[how.network] if how.guard is None else _guarded(graphs[how.network], how.guard)
        path = folder / f"{name}.alula"
        metadata = with_tasks({"labels": ["a", "ß"]}, {"conv": None if how.guard or how.network != "conv" else TASK})
        pack({how.network: graph}, path, how.bits, metadata, trainable=how.trainable)
        files[name] = path.read_bytes()
    pack({name: graphs[name] for name in ("conv", "attention")}, folder / "two.alula")
    return files | {"two graphs": (folder / "two.alula").read_bytes()}
