"""Gradients of arithmetic on elements."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.autodiff import Tape, rule
from alula.runtime.graph import Node


@rule("Add")
def add(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY to both, summed where an operand was broadcast."""
    return [tape.reduced(gradients[0], name) if tape.wants(name) else "" for name in node.inputs]
