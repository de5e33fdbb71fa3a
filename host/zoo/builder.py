"""Writes a network as ONNX nodes, with weights that are given or drawn. `Net` in layers.py has the layers.

`Builder.power` tracks the expected mean square of each tensor, so that the drawn statistics of batch normalisation fit
their input: activations neither explode nor vanish at any depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.runtime.errors import ImportFileError, ShapeError, require
from alula.runtime.graph import Array

if TYPE_CHECKING:
    import onnx

OPSET = 17
BATCH = "batch"
UNTRAINED = ("running_mean", "running_var")  # ends of the names of weights that are no parameters
UNUSED = "num_batches_tracked"  # PyTorch counts steps with it

Shape = tuple[int, ...]


class Builder:
    """A network under construction.

    shapes     : of each tensor, without the batch: (C, H, W), or (C,)
    parameters : how many there are so far
    """

    def __init__(self, name: str, seed: int, weights: Mapping[str, Array] | None) -> None:
        require("onnx", "host", "building a network of the zoo")
        self.name, self.given = name, weights
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.shapes: dict[str, Shape] = {}
        self.power: dict[str, float] = {}
        self.sums: set[str] = set()  # what residual connections made
        self.parameters = 0

    def input(self, name: str, shape: tuple[int, int, int]) -> str:
        """An image (batch, C, H, W)."""
        import onnx

        self.inputs.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, *shape]))
        self.shapes[name], self.power[name] = shape, 1.0
        return name

    def model(self, output: str, name: str = "logits") -> onnx.ModelProto:
        """The finished model, whose output gets a name.

        raise : ImportFileError if weights were given that no layer has
        """
        from onnx import TensorProto, helper, numpy_helper

        unused = {key for key in self.given or () if not key.endswith(UNUSED)} - self.initializers.keys()
        if unused:
            raise ImportFileError(
                f"{self.name}: expected weights of its layers, got {sorted(unused)[0]!r} too; check the network"
            )
        self.nodes[-1].output[0] = name
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, *self.shapes[output]])]
        weights = [numpy_helper.from_array(array, key) for key, array in self.initializers.items()]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, outputs, weights)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="alula"
        )

    def weight(self, name: str, shape: Shape, draw: Callable[[], Array]) -> str:
        """A weight: the given one, else what `draw` makes."""
        if self.given is None:
            value = draw()
        elif name in self.given:
            value = np.asarray(self.given[name])
        else:
            raise ImportFileError(
                f"{self.name}: expected a weight {name!r} {shape}, got none of that name; check the names"
            )
        if value.shape != shape:
            raise ShapeError(
                f"{self.name}: expected weight {name!r} {shape}, got {value.shape}; check num_classes and the network"
            )
        self.initializers[name] = np.ascontiguousarray(value, np.float32)
        self.parameters += 0 if name.endswith(UNTRAINED) else math.prod(shape)
        return name

    def normal(self, deviation: float, shape: Shape, mean: float = 0.0) -> Callable[[], Array]:
        """What draws a weight from a normal distribution, when it is called."""
        return lambda: self.rng.normal(mean, deviation, shape)

    def constant(self, name: str, value: Any, dtype: str = "float32") -> str:
        """A constant that is no weight; the same name is the same constant."""
        self.initializers.setdefault(name, np.array(value, dtype))
        return name

    def node(
        self,
        op: str,
        inputs: list[str],
        name: str,
        power: float | None = None,
        shape: Shape | None = None,
        **attrs: Any,
    ) -> str:
        """Append a node; its output has the node's name, and the shape and power of its first input if none are said.

        raise : ShapeError if nothing is left of the image
        """
        import onnx

        self.nodes.append(onnx.helper.make_node(op, inputs, [name], name, **attrs))
        self.shapes[name] = self.shapes[inputs[0]] if shape is None else shape
        self.power[name] = self.power[inputs[0]] if power is None else power
        if min(self.shapes[name], default=1) < 1:
            raise ShapeError(
                f"{self.name}: expected an image that is large enough, got {self.shapes[name]} at {name}; raise the size"
            )
        return name
