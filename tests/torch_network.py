"""An ONNX model as a torch module: the oracle of gradients, and the rival in the training benchmark.

Layers are torch's own functions in torch's own layout (N, C, H, W), one file a family in `torch_ops/`; what follows
from shapes and constants alone is computed with NumPy on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from tests.torch_ops import elementwise, layers, movement, recurrent, window

MIN_PARAMETER_SIZE = 2
RUN: dict[str, Callable[..., Any]] = {
    **layers.RUN, **window.RUN, **elementwise.RUN, **movement.RUN, **recurrent.RUN,
}  # fmt: skip


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
        self.runs = [(RUN[node.op_type], attributes(node)) for node in self.nodes]

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
        return self.results(*arrays)[0]

    def results(self, *arrays: Tensor, after: Callable[[Any], Any] | None = None) -> tuple[Tensor, ...]:
        """All outputs.

        after : what is done to the output of every node
        """
        values: dict[str, Any] = dict(self.fixed) | dict(zip(self.inputs, arrays, strict=True))
        values.update((name, getattr(self, place)) for name, place in self.places.items())
        for node, (run, attrs) in zip(self.nodes, self.runs, strict=True):
            made = run(self, attrs, [values[name] if name else None for name in node.input])
            several = made if isinstance(made, tuple) else (made,)
            values.update(zip(node.output, several if after is None else map(after, several)))
        return tuple(values[name] for name in self.outputs)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
