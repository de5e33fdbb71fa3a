"""Gradient of GridSample."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


@rule("GridSample")
def grid_sample(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Image and grid in one node."""
    attrs = {name: getattr(node.attrs, name) for name in ("align_corners", "mode", "padding_mode")}
    made: tuple[str, ...] = tape.node("GridSampleGrad", [gradients[0], *node.inputs], outputs=2, **attrs)
    return made
