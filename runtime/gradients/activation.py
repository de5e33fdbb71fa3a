"""Gradients of activations."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.autodiff import Tape, rule
from alula.runtime.graph import Node


@rule("Relu")
def relu(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY where the result is positive."""
    return (tape.node("ReluGrad", [gradients[0], node.outputs[0]]),)
