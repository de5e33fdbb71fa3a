"""Rewrites of a graph that keep its meaning: less to compute, in the form that the kernels need.

Each pass is a function from graph to graph, in its own file. Passes know only the shapes that follow from constants and
names of free dimensions (`shapes.py`), so a graph is optimised once and planned for any size.
"""

from __future__ import annotations

from collections.abc import Callable

from alula.runtime.graph import Graph
from alula.runtime.passes.affine import fold_affine
from alula.runtime.passes.batch_norm import open_batch_norm
from alula.runtime.passes.branches import decide_branches
from alula.runtime.passes.constant_folding import fold_constants
from alula.runtime.passes.dead_code import drop_dead_code
from alula.runtime.passes.fusion import fuse_epilogues, unfuse_epilogues
from alula.runtime.passes.gelu import fuse_gelu
from alula.runtime.passes.hard_swish import fuse_hard_swish
from alula.runtime.passes.layer_norm import fuse_layer_norm
from alula.runtime.passes.layout import fix_reshapes, transpose_channels_last
from alula.runtime.passes.no_ops import drop_no_ops
from alula.runtime.passes.operands import trim_operands
from alula.runtime.passes.padding import fold_pads
from alula.runtime.passes.softmax import straighten_softmax
from alula.runtime.passes.swish import fuse_swish

Pass = Callable[[Graph], Graph]

# The order matters: layout brings neighbours together, patterns look for plain neighbours, epilogues hide them
PASSES: tuple[Pass, ...] = (
    unfuse_epilogues,
    fold_constants,
    decide_branches,
    drop_dead_code,
    drop_no_ops,
    trim_operands,
    fuse_hard_swish,
    fuse_swish,
    fuse_gelu,
    straighten_softmax,
    fix_reshapes,
    transpose_channels_last,
    trim_operands,
    drop_no_ops,
    fuse_layer_norm,
    fold_pads,
    open_batch_norm,
    fold_affine,
    drop_dead_code,
    fuse_epilogues,
)


def optimise(graph: Graph) -> Graph:
    """The graph after every pass; to optimise it again changes nothing."""
    for rewrite in PASSES:
        graph = rewrite(graph)
    return graph


__all__ = ["PASSES", "Pass", "optimise"]
