"""Drop nodes whose results nothing reads."""

from __future__ import annotations

from alula.runtime.graph import Graph
from alula.runtime.passes.rewrite import Rewrite


def drop_dead_code(graph: Graph) -> Graph:
    """Keep what the outputs depend on: nodes, and constants."""
    needed = set(graph.outputs)
    rewrite = Rewrite(graph)
    for node in reversed(graph.nodes):
        if any(name in needed for name in node.outputs):
            needed.update(node.reads)
        else:
            rewrite.exchange([node], [])
    return rewrite.graph()
