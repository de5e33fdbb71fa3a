"""The meaning of a graph: every node in order through its op's NumPy reference. Slow; the tests' oracle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from alula.runtime.errors import DTypeError, GraphError, ShapeError
from alula.runtime.graph import Array, Graph, Node
from alula.runtime.ops.contract import find


def evaluate(graph: Graph, inputs: Mapping[str, Array], every_tensor: bool = False) -> dict[str, Array]:
    """Run a graph by the references of its ops.

    inputs       : one array per graph input
    every_tensor : return all that was computed, those between fused nodes included; else the outputs alone
    raise        : GraphError on a missing input; ShapeError or DTypeError with the label of the node that refused
    """
    values: dict[str, Array] = {}
    for name, spec in graph.inputs.items():
        if name not in inputs:
            raise GraphError(f"{graph.name}: expected input {name!r} {spec}, got {sorted(inputs)}; pass it too")
        values[name] = inputs[name]
    for node in graph.nodes:
        for name in node.reads:
            if name not in values and name in graph.constants:
                values[name] = graph.constants[name]
        run_node(node, values)
    for name in graph.outputs:
        if name not in values:
            values[name] = graph.constants[name]
    if every_tensor:
        return {name: value for name, value in values.items() if name not in graph.constants}
    return {name: values[name] for name in graph.outputs}


def run_node(node: Node, values: dict[str, Array]) -> None:
    """Compute a node and its epilogue; reads its inputs from `values` and puts its outputs there.

    A node whose guard is 0 is skipped: its outputs take what they are otherwise, or stay absent.

    raise : ShapeError or DTypeError with the node's label
    """
    if is_skipped(node, values):
        kept = zip(node.outputs, node.otherwise, strict=False)
        values.update(
            (name, values[other]) for name, other in kept if name and other in values
        )  # absent if it is skipped as well
        return
    if not node.fused:
        _run(node, node.outputs, values)
        return
    _run(node, (node.body_output, *node.outputs[1:]), values)
    for stage in node.fused:
        _run(stage, stage.outputs, values)


def is_skipped(node: Node, values: Mapping[str, Array]) -> bool:
    """Whether a node's guard says that it does not run."""
    return bool(node.guard) and not values[node.guard].any()


def _run(node: Node, outputs: tuple[str, ...], values: dict[str, Array]) -> None:
    op = find(node.op, node.label)
    try:
        results = op.reference(node.attrs, *(values[name] if name else None for name in node.inputs))
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"{node.label}: {error}") from None
    for name, value in zip(outputs, results, strict=False):  # an output that nothing reads is left out, or ""
        if name:
            values[name] = np.asarray(value)
