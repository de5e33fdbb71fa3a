"""Writes the layers of a network as ONNX nodes, with weights that are given or drawn.

Drawn weights follow He et al. (2015). `Net.power` tracks the expected mean square of each tensor, so that the drawn
statistics of batch normalisation fit their input: activations neither explode nor vanish at any depth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.runtime.errors import ImportFileError, ShapeError, require
from alula.runtime.graph import Array

if TYPE_CHECKING:
    import onnx

OPSET = 17
BATCH = "batch"


class Net:
    """A network under construction. Every layer method takes and returns names of tensors."""

    def __init__(self, name: str, seed: int, weights: Mapping[str, Array] | None) -> None:
        require("onnx", "host", "building a network of the zoo")
        self.name, self.given = name, weights
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.channels: dict[str, int] = {}
        self.sizes: dict[str, int] = {}  # height and width, which are the same
        self.power: dict[str, float] = {}  # mean square
        self.sums: set[str] = set()

    def input(self, name: str, shape: tuple[int, int, int]) -> str:
        """An image (batch, C, H, W)."""
        import onnx

        self.inputs.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, *shape]))
        self.channels[name], self.sizes[name], self.power[name] = shape[0], shape[1], 1.0
        return name

    def model(self, output: str) -> onnx.ModelProto:
        """The finished model.

        raise : ImportFileError if weights were given that no layer has
        """
        from onnx import TensorProto, helper, numpy_helper

        unused = {
            name for name in self.given or () if not name.endswith("num_batches_tracked")
        } - self.initializers.keys()
        if unused:
            raise ImportFileError(
                f"{self.name}: expected weights of its layers, got {sorted(unused)[0]!r} too; check the network"
            )
        self.nodes[-1].output[0] = "logits"
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [BATCH, self.channels[output]])]
        weights = [numpy_helper.from_array(array, name) for name, array in self.initializers.items()]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, outputs, weights)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="alula"
        )

    def weight(self, name: str, shape: tuple[int, ...], draw: Array) -> str:
        """A weight: the given one, else `draw`."""
        value = draw
        if self.given is not None:
            if name not in self.given:
                raise ImportFileError(
                    f"{self.name}: expected a weight {name!r} {shape}, got none of that name; check the names"
                )
            value = np.asarray(self.given[name])
        if value.shape != shape:
            raise ShapeError(
                f"{self.name}: expected weight {name!r} {shape}, got {value.shape}; check num_classes and the network"
            )
        self.initializers[name] = np.ascontiguousarray(value, np.float32)
        return name

    def node(self, op: str, inputs: list[str], name: str, power: float, size: int = 0, **attrs: Any) -> str:
        """Append a node; its output has the node's name."""
        import onnx

        self.nodes.append(onnx.helper.make_node(op, inputs, [name], name, **attrs))
        self.channels[name] = self.channels[inputs[0]]
        self.sizes[name], self.power[name] = size or self.sizes[inputs[0]], power
        return name

    def conv(
        self,
        x: str,
        name: str,
        c_out: int,
        kernel: int,
        stride: int = 1,
        *,
        pads: str = "half",
        group: int = 1,
        bias: bool = False,
    ) -> str:
        """A convolution. pads : half the kernel on each side, `same` as TensorFlow has it (more at the end), or none"""
        c_in, size = self.channels[x], self.sizes[x]
        fan_in = c_in // group * kernel * kernel
        shape = (c_out, c_in // group, kernel, kernel)
        inputs = [x, self.weight(f"{name}.weight", shape, self.rng.normal(0, math.sqrt(2 / fan_in), shape))]
        if bias:
            inputs.append(self.weight(f"{name}.bias", (c_out,), self.rng.normal(0, 0.05, c_out)))
        total = kernel // 2 * 2 if pads == "half" else 0
        if pads == "same":
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        begin, end = total // 2, total - total // 2
        out = (size + total - kernel) // stride + 1
        y = self.node(
            "Conv", inputs, name, 2 * self.power[x], out,
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[begin, begin, end, end], group=group,
        )  # fmt: skip
        self.channels[y] = c_out
        return y

    def batch_norm(self, x: str, name: str, gain: float = 1.0, epsilon: float = 1e-5) -> str:
        """Batch normalisation with statistics such as training leaves: about those of its input. gain : its mean scale"""
        c, power = self.channels[x], self.power[x]
        draws = {
            "weight": gain * self.rng.uniform(0.8, 1.2, c),
            "bias": self.rng.normal(0, 0.1, c),
            "running_mean": self.rng.normal(0, 0.2 * math.sqrt(power), c),
            "running_var": power * self.rng.uniform(0.8, 1.25, c),
        }
        inputs = [self.weight(f"{name}.{part}", (c,), draw) for part, draw in draws.items()]
        return self.node("BatchNormalization", [x, *inputs], name, gain * gain + 0.01, epsilon=epsilon)

    def relu(self, x: str, name: str) -> str:
        """max(x, 0): half of a balanced tensor's power; a sum with a positive shortcut loses next to nothing."""
        kept = 1 if x in self.sums else 0.5
        return self.node("Relu", [x], name, self.power[x] * kept)

    def relu6(self, x: str, name: str) -> str:
        """min(max(x, 0), 6)."""
        self.initializers.update({"zero": np.array(0, np.float32), "six": np.array(6, np.float32)})
        return self.node("Clip", [x, "zero", "six"], name, self.power[x] / 2)

    def add(self, x: str, y: str, name: str) -> str:
        """x + y, a residual connection."""
        self.sums.add(name)
        return self.node("Add", [x, y], name, self.power[x] + self.power[y])

    def max_pool(self, x: str, name: str) -> str:
        """The largest of 2 x 2."""
        return self.node("MaxPool", [x], name, self.power[x], self.sizes[x] // 2, kernel_shape=[2, 2], strides=[2, 2])

    def global_pool(self, x: str, name: str) -> str:
        """The mean of all pixels, as a vector."""
        pooled = self.node("GlobalAveragePool", [x], name, self.power[x], 1)
        return self.flatten(pooled, f"{name}.flat")

    def flatten(self, x: str, name: str) -> str:
        """An image as a vector (batch, C * H * W)."""
        y = self.node("Flatten", [x], name, self.power[x], 1, axis=1)
        self.channels[y] = self.channels[x] * self.sizes[x] ** 2
        return y

    def linear(self, x: str, name: str, c_out: int) -> str:
        """A fully connected layer."""
        c_in = self.channels[x]
        draw = self.rng.normal(0, math.sqrt(2 / c_in), (c_out, c_in))
        inputs = [x, self.weight(f"{name}.weight", (c_out, c_in), draw)]
        inputs.append(self.weight(f"{name}.bias", (c_out,), self.rng.normal(0, 0.05, c_out)))
        y = self.node("Gemm", inputs, name, 2 * self.power[x], transB=1)
        self.channels[y] = c_out
        return y
