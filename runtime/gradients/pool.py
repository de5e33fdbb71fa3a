"""Gradients of pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alula.runtime.autodiff import Tape, rule
from alula.runtime.graph import Node


@rule("GlobalAveragePool")
def global_average_pool(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Every pixel gets the same share."""
    dims = tape.spec(node.inputs[0]).dims
    share = tape.node("Mul", [gradients[0], tape.constant(1 / math.prod(dims[1:-1]))])
    return (tape.node("Expand", [share, tape.constant(list(dims), "int64")]),)
