"""Gradient of Resize: along each axis Resize is a matrix product, so the gradient is the product with its transpose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.ops.resize.op import axis_table, is_identity, resize_geometry
from alula.runtime.planning.autodiff import Tape, rule


@rule("Resize")
def resize(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Each element's gradient goes back to the elements that it was made of, by their weights."""
    attrs, dims = node.attrs, tape.spec(node.inputs[0]).dims
    known = [tape.value(name) if name else None for name in (*node.inputs[1:], "", "", "")[:3]]
    grad_x = gradients[0]
    rank = len(dims)
    for geometry in resize_geometry(attrs, dims, *known):
        table = axis_table(attrs, geometry)
        if is_identity(table, geometry):
            continue
        matrix = np.zeros((geometry.size_out, geometry.size_in), np.float32)
        np.add.at(matrix, (np.arange(geometry.size_out)[:, None], table.indices), table.weights)
        matrix[table.outside] = 0
        perm = [i for i in range(rank) if i != geometry.axis] + [geometry.axis]
        transposed = tape.node("MatMul", [tape.node("Transpose", [grad_x], perm=tuple(perm)), tape.constant(matrix)])
        grad_x = tape.node("Transpose", [transposed], perm=tuple(int(i) for i in np.argsort(perm)))
    return grad_x, *[""] * (len(node.inputs) - 1)
