"""Compare the packed network with onnxruntime: every output and, on demand, every layer.

The measure is the maximum difference divided by the range of the reference (its maximum less its minimum), so that it means
the same for scores in 0..1 and for raw activations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from alula.host.inputs import Shapes, random_inputs, resolve_shapes
from alula.host.ort import OrtModel
from alula.runtime.errors import GraphError, ImportFileError, ShapeError, require
from alula.runtime.graph import Array, TensorSpec

TOLERANCE_RATIO = 1e-4
SATURATED = 1e-3  # an output that spans less says little: no text for a text detector, say
CHANNELS_LAST = re.compile(r"\.channels_last(\.\d+)?$")  # how import and layout name a tensor that they transposed


class Runnable(Protocol):
    """What verification needs of a model."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every output, by name."""
        ...

    def run_all(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every tensor that is computed, by name."""
        ...


@dataclass(frozen=True)
class Difference:
    """How far one tensor is from onnxruntime's.

    ratio : largest difference over the range of the reference; infinite if only one of the two has a NaN somewhere
    """

    tensor: str
    shape: tuple[int, ...]
    is_output: bool
    largest: float
    range: float
    ratio: float


@dataclass(frozen=True)
class Verification:
    """The comparison of one graph.

    layers : empty unless asked for; in the order in which onnxruntime computes them
    absent : tensors of the ONNX model that the packed graph has no counterpart of (folded or rewritten at import)
    """

    graph: str
    tolerance: float
    outputs: list[Difference]
    layers: list[Difference] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def largest_ratio(self) -> float:
        """The worst output."""
        return max((d.ratio for d in self.outputs), default=0.0)

    @property
    def saturated(self) -> list[str]:
        """Outputs that are all but constant on this input."""
        return [d.tensor for d in self.outputs if d.range < SATURATED]

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance."""
        return self.largest_ratio <= self.tolerance

    def document(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {**asdict(self), "largest_ratio": self.largest_ratio, "passed": self.passed, "saturated": self.saturated}


def verify(
    model: Runnable,
    onnx_path: Path,
    graph: str = "",
    *,
    inputs: Mapping[str, Array] | None = None,
    shapes: Shapes | None = None,
    layers: bool = False,
    seed: int = 0,
    tolerance: float = TOLERANCE_RATIO,
) -> Verification:
    """Run a packed graph and the ONNX model it was made of on the same values.

    inputs : arrays by input name; seeded random ones of the given `shapes` if None
    layers : compare what lies between as well
    raise  : ImportFileError if the two have other inputs or outputs, ShapeError if a free dimension has no size
    """
    where = graph or str(onnx_path)
    theirs = OrtModel(onnx_path, purpose="verifying")
    if set(theirs.inputs) != set(model.inputs) or not set(model.outputs) <= set(theirs.outputs):
        raise ImportFileError(
            f"{onnx_path}: expected inputs {sorted(model.inputs)} and outputs {sorted(model.outputs)}, "
            f"got {sorted(theirs.inputs)} and {sorted(theirs.outputs)}; give the model that {where} was packed from"
        )
    if inputs is None:
        inputs = random_inputs(model.inputs, resolve_shapes(model.inputs, shapes or {}, where), seed)
    ours = model.run(inputs)
    expected = theirs(inputs)
    outputs = [compare(name, ours[name], expected[name], is_output=True) for name in ours]
    if not layers:
        return Verification(graph, tolerance, outputs)
    found, absent = _layers(model.run_all(inputs), _all_tensors(onnx_path, inputs), set(theirs.outputs))
    return Verification(graph, tolerance, outputs, found, absent)


def compare(tensor: str, ours: Array, reference: Array, *, is_output: bool = False) -> Difference:
    """The difference of one tensor from the reference.

    raise : ShapeError if the shapes differ
    """
    if ours.shape != reference.shape:
        raise ShapeError(
            f"{tensor}: expected {reference.shape} as in onnxruntime, got {ours.shape}; the import is wrong"
        )
    ours64, reference64 = ours.astype(np.float64), reference.astype(np.float64)
    known = np.isfinite(reference64)
    same = np.where(known, True, (ours64 == reference64) | (np.isnan(ours64) & np.isnan(reference64)))
    gap = np.abs(np.where(known, ours64, 0.0) - np.where(known, reference64, 0.0))
    largest = float(gap.max(initial=0.0)) if same.all() and np.isfinite(ours64[known]).all() else float("inf")
    values = reference64[known]
    span = float(values.max() - values.min()) if values.size else 0.0
    if span == 0.0:  # a constant: its own size stands for the range
        span = float(np.abs(values).max(initial=0.0)) or 1.0
    return Difference(tensor, tuple(ours.shape), is_output, largest, span, largest / span)


def _all_tensors(onnx_path: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor that onnxruntime computes, in order: the model's nodes with all their results made outputs."""
    onnx = require("onnx", "host", "verifying layer by layer")
    proto = onnx.load(str(onnx_path))
    known = {value.name for value in proto.graph.output}
    for node in proto.graph.node:
        for name in node.output:
            if name and name not in known and node.op_type != "Constant":
                proto.graph.output.append(onnx.ValueInfoProto(name=name))
    results = OrtModel(proto.SerializeToString(), purpose="verifying layer by layer")(inputs)
    order = [name for node in proto.graph.node for name in node.output if name in results]
    return {name: results[name] for name in order}


def _layers(
    ours: Mapping[str, Array], expected: Mapping[str, Array], outputs: set[str]
) -> tuple[list[Difference], list[str]]:
    stored = {CHANNELS_LAST.sub("", name): array for name, array in _channels_first(ours).items()}
    found, absent = [], []
    for name, reference in expected.items():
        array = ours.get(name, stored.get(name))
        if array is None or array.shape != reference.shape:
            absent.append(name)
        else:
            found.append(compare(name, array, reference, is_output=name in outputs))
    if not found:
        raise GraphError(
            f"layers: expected tensors of the same names in both, got none of {len(expected)}; compare outputs only"
        )
    return found, absent


def _channels_first(ours: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors that import laid out channels last, back in the order of the ONNX model."""
    return {
        name: np.moveaxis(array, -1, 1) for name, array in ours.items() if array.ndim > 2 and CHANNELS_LAST.search(name)
    }
