"""Inputs and outputs of float16 as float32: training feeds images and reads scores in float32."""

from __future__ import annotations

from dataclasses import replace

from alula.runtime.graph import Graph, Node
from alula.runtime.ops.contract import find


def float32_ends(graph: Graph) -> Graph:
    """The network with float32 where it begins with a Cast from float16, or ends with one to it.

    The Casts that are left change nothing, and `no_ops` removes them.
    """
    readers: dict[str, list[Node]] = {name: [] for name in (*graph.inputs, *graph.outputs)}
    for node in graph.nodes:
        for name in node.reads:
            if name in readers:
                readers[name].append(node)
    ends = {
        name
        for name, spec in graph.inputs.items()
        if spec.dtype == "float16" and name not in graph.outputs and all(_widens(node) for node in readers[name])
    }
    widened = find("Cast", "").make_attrs({"to": "float32"}, "")
    nodes = [
        replace(node, attrs=widened)
        if node.op == "Cast"
        and node.attrs.to == "float16"
        and node.outputs[0] in graph.outputs
        and not readers[node.outputs[0]]
        else node
        for node in graph.nodes
    ]
    inputs = {name: replace(spec, dtype="float32") if name in ends else spec for name, spec in graph.inputs.items()}
    return replace(graph, inputs=inputs, nodes=tuple(nodes))


def _widens(node: Node) -> bool:
    return node.op == "Cast" and node.attrs.to == "float32"
