"""Gradients of what moves elements: the gradient moved back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.autodiff import Tape, rule
from alula.runtime.graph import Node


@rule("Transpose")
def transpose(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """The inverse permutation."""
    rank = len(tape.spec(node.inputs[0]).dims)
    perm = node.attrs.perm or tuple(reversed(range(rank)))
    return (tape.node("Transpose", [gradients[0]], perm=tuple(int(i) for i in np.argsort(perm))),)
