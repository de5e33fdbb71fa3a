"""Layers of detectors as ONNX nodes, with batch normalisation folded and sizes fixed, as their exporters write them; random weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from alula.runtime.graph import Array

KEPT = {
    "silu": 2.8,
    "leaky": 2.0,
    "": 1.0,
}  # variance of weights times fan-in that keeps the power through an activation


class Layers:
    """A network under construction. Every method takes and returns names; `shapes` has (C, H, W) of images.

    act : of a convolution with one: silu or leaky
    """

    def __init__(self, size: int, act: str = "silu", seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.size, self.act = size, act
        self.nodes: list[Any] = []
        self.finals: list[str] = []  # outputs of `final`
        self.values: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {"images": (3, size, size)}

    def node(self, op: str, inputs: Sequence[str], shape: tuple[int, ...] = (), **attrs: Any) -> str:
        """Append a node of one output. shape : (C, H, W) of an image; that of the first input if it is not given"""
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attrs))
        self.shapes[name] = shape or self.shapes.get(inputs[0], ())
        return name

    def value(self, array: Any, dtype: str = "float32") -> str:
        """A constant."""
        name = f"value_{len(self.values)}"
        self.values[name] = np.asarray(array, dtype)
        return name

    def plain(
        self, x: str, width: int, k: int = 1, stride: int = 1, group: int = 1, pad: int | None = None, act: str = ""
    ) -> str:
        """A convolution with bias. act : what follows it"""
        c, h, w = self.shapes[x]
        pad = k // 2 if pad is None else pad
        shape = (width, c // group, k, k)
        fan_in = c // group * k * k
        weight = self.value(self.rng.normal(0, math.sqrt(KEPT[act] / fan_in), shape))
        out = ((h + 2 * pad - k) // stride + 1, (w + 2 * pad - k) // stride + 1)
        bias = self.value(self.rng.normal(0, 0.05, width))
        return self.node("Conv", [x, weight, bias], (width, *out), kernel_shape=[k, k], strides=[stride] * 2,
                         pads=[pad] * 4, group=group)  # fmt: skip

    def active(self, x: str) -> str:
        """The activation."""
        if self.act == "leaky":
            return self.node("LeakyRelu", [x], alpha=0.1)
        return self.node("Mul", [x, self.node("Sigmoid", [x])])

    def conv(self, x: str, width: int, k: int = 1, stride: int = 1, group: int = 1, pad: int | None = None) -> str:
        """A convolution and its activation."""
        return self.active(self.plain(x, width, k, stride, group, pad, self.act))

    def final(self, x: str, width: int) -> str:
        """A pointwise convolution whose outputs are the network's, before what makes scores and sides of them."""
        y = self.plain(x, width)
        self.finals.append(y)
        return y

    def separable(self, x: str, width: int, k: int = 3, stride: int = 1) -> str:
        """A depthwise convolution and a pointwise one."""
        return self.conv(self.conv(x, self.shapes[x][0], k, stride, self.shapes[x][0]), width)

    def add(self, x: str, y: str) -> str:
        """x + y."""
        return self.node("Add", [x, y])

    def concat(self, parts: Sequence[str]) -> str:
        """Channels, one part behind the other."""
        return self.node("Concat", parts, (sum(self.shapes[p][0] for p in parts), *self.shapes[parts[0]][1:]), axis=1)

    def halves(self, x: str) -> list[str]:
        """The two halves of the channels."""
        c, *rest = self.shapes[x]
        names = [f"split_{len(self.nodes)}_{part}" for part in range(2)]
        self.nodes.append(
            helper.make_node("Split", [x, self.value([c // 2, c - c // 2], "int64")], names, names[0], axis=1)
        )
        self.shapes |= dict.fromkeys(names, (c // 2, *rest))
        return names

    def pool(self, x: str, k: int, stride: int = 1) -> str:
        """The largest of k x k."""
        c, h, w = self.shapes[x]
        return self.node("MaxPool", [x], (c, -(-h // stride), -(-w // stride)), kernel_shape=[k, k], pads=[k // 2] * 4,
                         strides=[stride] * 2)  # fmt: skip

    def doubled(self, x: str, mode: str = "nearest") -> str:
        """Twice as high and wide."""
        c, h, w = self.shapes[x]
        how = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"} if mode == "nearest" else {}
        scales = self.value([1, 1, 2, 2])
        return self.node("Resize", [x, "", scales], (c, 2 * h, 2 * w), mode=mode, **how)

    def reshape(self, x: str, *dims: int) -> str:
        """The same elements in another shape, with the batch."""
        return self.node("Reshape", [x, self.value(dims, "int64")], dims[1:])

    def transpose(self, x: str, *perm: int) -> str:
        """The axes in another order."""
        shape = (1, *self.shapes[x])
        return self.node("Transpose", [x], tuple(shape[axis] for axis in perm[1:]), perm=list(perm))

    def part(self, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """x[start:stop:step] along an axis."""
        shape = [1, *self.shapes[x]]
        shape[axis] = len(range(start, min(stop, shape[axis]), step))
        inputs = [x, *(self.value([number], "int64") for number in (start, stop, axis, step))]
        return self.node("Slice", inputs, tuple(shape[1:]))

    def named(self, made: str) -> dict[str, str]:
        """What a node reads, by its place: the weight and the bias of a convolution."""
        (node,) = (node for node in self.nodes if made in node.output)
        return {"weight": node.input[1], "bias": node.input[2]}

    def model(self, output: str, more: Sequence[str] = ()) -> onnx.ModelProto:
        """The finished model; its output is called `output0`. more : other tensors that it gives, too"""
        nodes = [*self.nodes, helper.make_node("Identity", [output], ["output0"], "output0")]
        graph = helper.make_graph(
            nodes, "detector", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, self.size, self.size])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *self.shapes[of]])
             for name, of in (("output0", output), *zip(more, more))],
            [numpy_helper.from_array(array, name) for name, array in self.values.items()],
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
