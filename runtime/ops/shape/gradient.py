"""Gradients of ops that only change the shape: the gradient in the old shape."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """The same elements."""
    return (tape.reshaped(gradients[0], tape.spec(node.inputs[0]).dims), "")[: len(node.inputs)]
