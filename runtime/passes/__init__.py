"""Rewrites of a graph that keep its meaning: less to compute, and what is left in the shape that the kernels want.

Each pass is a function from graph to graph, in a file of its own. They know the shapes only as far as constants and
the names of free dimensions tell (`shapes.py`), so that a graph is optimised once and planned for any size.
"""

from __future__ import annotations

from collections.abc import Callable

from alula.runtime.graph import Graph
from alula.runtime.passes.constant_folding import fold_constants
from alula.runtime.passes.dead_code import drop_dead_code
from alula.runtime.passes.layout import fix_reshapes, turn_channels_last
from alula.runtime.passes.no_ops import drop_no_ops

Pass = Callable[[Graph], Graph]

PASSES = (fold_constants, drop_dead_code, drop_no_ops, fix_reshapes, turn_channels_last)

def optimise(graph):
    for p in PASSES: graph = p(graph)
    return graph

__all__ = ["optimise"]
