"""Means and maxima over whole pictures as global pools, which have kernels of their own."""

from __future__ import annotations

from alula.runtime.graph import Graph
from alula.runtime.passes.draft import Draft, make_node
from alula.runtime.passes.shapes import Shapes

POOLS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}


def find_global_pools(graph: Graph) -> Graph:
    """ReduceMean and ReduceMax over all axes but the first and the last -> global pools (and Squeeze)."""
    shapes, draft = Shapes(graph), Draft(graph)
    for node in draft.nodes(*POOLS):
        spec = shapes.spec(node.inputs[0])
        axes = draft.integers(node.inputs[1]) if len(node.inputs) > 1 else None
        if spec is None or not axes or node.fused or spec.dtype != "float32" or len(spec.shape) < 3:
            continue
        if sorted(axis % len(spec.shape) for axis in axes) != list(range(1, len(spec.shape) - 1)):
            continue
        output = node.outputs[0]
        if node.attrs.keepdims:
            draft.exchange([node], [make_node(POOLS[node.op], [node.inputs[0]], output, node.name)])
            continue
        pooled = draft.fresh(f"{output}.pooled")
        pool = make_node(POOLS[node.op], [node.inputs[0]], pooled, node.name)
        draft.exchange([node], [pool, make_node("Squeeze", [pooled, node.inputs[1]], output)])
    return draft.graph()
