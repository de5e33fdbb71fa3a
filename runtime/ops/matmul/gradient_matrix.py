"""The gradient of a triangle is the triangle of the gradient."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


@rule("Trilu")
def trilu(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY inside the triangle."""
    grad_x = tape.node("Trilu", [gradients[0], *node.inputs[1:]], upper=node.attrs.upper)
    return grad_x, *[""] * (len(node.inputs) - 1)
