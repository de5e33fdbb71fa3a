"""What blocks draw with: a generator of numbers, and an ONNX network that grows node by node.

Weights are scaled to their fan-in, so that activations and gradients stay near 1 and float32 stays near float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from alula.runtime.graph import Array

OPSET = 21
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 31, 32, 33, 48)  # both sides of a vector tile
MAX_ELEMENTS = 60_000  # of one activation: networks are small, and many
T = TypeVar("T")

# What an initializer is. Training must change a weight, keeps a statistic, may change a constant, and must not change
# a setting: a bound, a pad or a shape, which decides what an op does.
WEIGHT, STATISTIC, CONSTANT, SETTING = "weight", "statistic", "constant", "setting"


class Draw:
    """A network under construction.

    x      : name of the tensor that the next block reads; its shape is `dims`, channels first
    tally  : names of the blocks that were taken
    roles  : what each initializer is
    trains : whether batch normalisations will use the batch's statistics
    """

    def __init__(self, rng: np.random.Generator, batch: int, trains: bool) -> None:
        self.rng, self.batch, self.trains = rng, batch, trains
        self.nodes: list[onnx.NodeProto] = []
        self.initial: dict[str, Array] = {}
        self.roles: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.inputs: dict[str, TensorProto.DataType] = {}
        self.tally: list[str] = []
        self.x = ""

    def pick(self, choices: Sequence[T]) -> T:
        """One of these."""
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, share: float) -> bool:
        """True in that share of cases."""
        return bool(self.rng.random() < share)

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high."""
        return int(self.rng.integers(low, high + 1))

    def numbers(self, count: int, choices: Sequence[int]) -> list[int]:
        """Several, each on its own."""
        return [int(self.pick(choices)) for _ in range(count)]

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of x, batch first."""
        return self.shapes[self.x]

    @property
    def rank(self) -> int:
        """The number of dimensions of x."""
        return len(self.dims)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The spatial shape of x."""
        return self.dims[2:]

    def size(self) -> int:
        """The number of elements of x."""
        return math.prod(self.dims)

    def add(self, hint: str, array: Any, role: str) -> str:
        """A new initializer; its name."""
        array = np.asarray(array)
        name = f"{hint}{len(self.initial)}"
        self.initial[name], self.roles[name] = array, role
        self.shapes[name] = array.shape
        self.types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        return name

    def weight(self, hint: str, shape: Sequence[int], fan_in: float = 1.0, role: str = WEIGHT) -> str:
        """A weight of normal numbers, of variance 1.5 / fan_in."""
        scale = math.sqrt(1.5 / max(fan_in, 1.0))
        return self.add(hint, (self.rng.standard_normal(shape) * scale).astype(np.float32), role)

    def vector(self, hint: str, count: int, centre: float = 0.0, spread: float = 0.2, role: str = WEIGHT) -> str:
        """A bias or a scale."""
        return self.add(hint, (centre + spread * self.rng.standard_normal(count)).astype(np.float32), role)

    def ints(self, hint: str, values: Sequence[int]) -> str:
        """A setting of whole numbers."""
        return self.add(hint, np.array(values, np.int64), SETTING)

    def scalar(self, hint: str, value: float) -> str:
        """A setting of one number."""
        return self.add(hint, np.array(value, np.float32), SETTING)

    def input(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> str:
        """An input of the network, batch first."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs[name], self.shapes[name] = kind, tuple(shape)
        self.types[name] = helper.make_tensor_type_proto(kind, list(shape))
        return name

    def node(self, op: str, inputs: Sequence[str], **attrs: Any) -> str:
        """Append a node of one output; its name."""
        return self.nodes_of(op, inputs, 1, **attrs)[0]

    def nodes_of(self, op: str, inputs: Sequence[str], outputs: int, **attrs: Any) -> list[str]:
        """Append a node of several outputs; their names."""
        number = len(self.nodes)
        names = [f"{op.lower()}_{number}" + (f".{i}" if i else "") for i in range(outputs)]
        made = helper.make_node(op, list(inputs), names, name=f"{op}_{number}", **attrs)
        self.nodes.append(made)
        if op in (
            "GroupNormalization",
            "InstanceNormalization",
            "HardSwish",
            "Mish",
        ):  # shapes of functions are not inferred
            self.types[names[0]], self.shapes[names[0]] = self.types[inputs[0]], self.shapes[inputs[0]]
            return names
        known = {name: self.types[name] for name in inputs if name}
        values = {n: numpy_helper.from_array(self.initial[n], n) for n in inputs if self.roles.get(n) == SETTING}
        found = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(op, OPSET), made, known, values, opset_imports=[helper.make_opsetid("", OPSET)]
        )
        for name in names:
            self.types[name] = found[name]
            self.shapes[name] = tuple(d.dim_value for d in found[name].tensor_type.shape.dim)
        return names

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        """Correct what was inferred."""
        self.shapes[name] = tuple(shape)
        self.types[name] = helper.make_tensor_type_proto(TensorProto.FLOAT, list(shape))

    def then(self, op: str, *rest: str, **attrs: Any) -> None:
        """Append a node that reads x and makes the next x."""
        self.x = self.node(op, [self.x, *rest], **attrs)

    def model(self, outputs: Sequence[str], free_batch: bool) -> onnx.ModelProto:
        """The network as ONNX.

        free_batch : the first dimension of every input has a name instead of a number
        """
        infos = []
        for name, kind in self.inputs.items():
            shape: list[int | str] = list(self.shapes[name])
            infos.append(helper.make_tensor_value_info(name, kind, ["n", *shape[1:]] if free_batch else shape))
        results = [onnx.ValueInfoProto(name=name) for name in outputs]
        weights = [numpy_helper.from_array(array, name) for name, array in self.initial.items()]
        graph = helper.make_graph(self.nodes, "random", infos, results, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
