"""The gradient of a running sum is the running sum of the gradient from the other end."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


@rule("CumSum")
def cum_sum(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dX[i] sums dY over all sums that X[i] is part of."""
    attrs = {"exclusive": node.attrs.exclusive, "reverse": 1 - node.attrs.reverse}
    return tape.node("CumSum", [gradients[0], node.inputs[1]], **attrs), ""
