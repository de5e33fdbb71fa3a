"""What of a graph goes into a file: the constants that something reads, which of them are weights, none that is NaN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from alula.runtime.errors import ArtifactError
from alula.runtime.graph import Array, Arrays, Graph, Node
from alula.runtime.ops.contract import find
from alula.runtime.ops.traits import axis_for

MIN_QUANTISED = 256  # elements; below it, tables would weigh more than what they save


def trimmed(graph: Graph) -> Graph:
    """The graph without constants that nothing reads."""
    read = {name for node in graph.nodes for name in node.reads} | set(graph.outputs)
    return replace(graph, constants=Arrays({name: graph.constants[name] for name in graph.constants if name in read}))


def weight_axes(graph: Graph) -> dict[str, int]:
    """The constants that may be quantised, with the axis of their output channels."""
    axes: dict[str, set[int | None]] = {}
    for node in graph.nodes:
        for name, axis in _weights_read(node):
            if name in graph.constants:
                axes.setdefault(name, set()).add(axis)
    for name in graph.outputs:
        axes.pop(name, None)
    result = {}
    for name, found in axes.items():
        spec = graph.constants.spec(name)
        ndim = len(spec.shape)
        is_matrix = sum(dim > 1 for dim in spec.dims) >= 2
        if spec.dtype == "float32" and spec.size >= MIN_QUANTISED and is_matrix and None not in found:
            result[name] = min(axis % ndim for axis in found if axis is not None)
    return result


def _weights_read(node: Node) -> Iterator[tuple[str, int | None]]:
    """The tensors that a node reads with their axis of output channels, None if it reads them as something else than weights."""
    operands = find(node.op, node.label).operands
    for number, name in enumerate(node.inputs):
        yield name, axis_for(operands[number].outputs, node.attrs) if number in operands else None
    for fused in node.fused:
        for name in fused.inputs:
            yield name, None


def check_finite(array: Array, is_weight: bool, where: str) -> None:
    """Refuse NaN anywhere, and infinities in weights."""
    if array.dtype.kind != "f":
        return
    bad = int(np.isnan(array).sum()) if not is_weight else int((~np.isfinite(array)).sum())
    if bad:
        raise ArtifactError(
            f"{where}: expected finite weights, got {bad} that are NaN or infinite; train or export the model again"
        )
