"""Gradients of matrix products: products with the other operand transposed."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


def _transposed(tape: Tape, name: str) -> str:
    """The last two axes exchanged."""
    rank = len(tape.spec(name).dims)
    return str(tape.node("Transpose", [name], perm=(*range(rank - 2), rank - 1, rank - 2)))


@rule("MatMul")
def matmul(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dA = dY B^T, dB = A^T dY, summed over the axes that were broadcast."""
    (a, b), (grad_y,) = node.inputs, gradients
    a_dims, b_dims = tape.spec(a).dims, tape.spec(b).dims
    # A vector is a matrix of one row (left) or one column (right)
    left = tape.reshaped(a, (1, *a_dims)) if len(a_dims) == 1 else a
    right = tape.reshaped(b, (*b_dims, 1)) if len(b_dims) == 1 else b
    rows, columns = tape.spec(left).dims[-2], tape.spec(right).dims[-1]
    lead = tape.spec(grad_y).dims[: len(tape.spec(grad_y).dims) - (len(a_dims) > 1) - (len(b_dims) > 1)]
    grad_y = tape.reshaped(grad_y, (*lead, rows, columns))
    if len(b_dims) == 2 and len(lead) > 0 and tape.wants(b):  # one product over all rows
        inner = a_dims[-1]
        flat = tape.reshaped(left, (tape.spec(left).size // inner, inner))
        grad_b = tape.node(
            "Gemm", [flat, tape.reshaped(grad_y, (tape.spec(grad_y).size // columns, columns))], transA=1
        )
    elif tape.wants(b):
        grad_b = tape.reshaped(tape.reduced(tape.node("MatMul", [_transposed(tape, left), grad_y]), right), b_dims)
    else:
        grad_b = ""
    grad_a = (
        tape.reshaped(tape.reduced(tape.node("MatMul", [grad_y, _transposed(tape, right)]), left), a_dims)
        if tape.wants(a)
        else ""
    )
    return grad_a, grad_b


@rule("Gemm")
def gemm(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Y = alpha A' B' + beta C, where ' may transpose."""
    attrs, (grad_y,) = node.attrs, gradients
    a, b = node.inputs[:2]
    grad_a = grad_b = ""
    if tape.wants(a):  # dA' = alpha dY B'^T
        operands, flags = ([grad_y, b], (0, 1 - attrs.transB)) if not attrs.transA else ([b, grad_y], (attrs.transB, 1))
        grad_a = tape.node("Gemm", operands, alpha=attrs.alpha, transA=flags[0], transB=flags[1])
    if tape.wants(b):  # dB' = alpha A'^T dY
        operands, flags = ([a, grad_y], (1 - attrs.transA, 0)) if not attrs.transB else ([grad_y, a], (1, attrs.transA))
        grad_b = tape.node("Gemm", operands, alpha=attrs.alpha, transA=flags[0], transB=flags[1])
    if len(node.inputs) < 3 or not node.inputs[2]:
        return (grad_a, grad_b, "")[: len(node.inputs)]
    dc = ""
    if tape.wants(node.inputs[2]):
        dc = tape.reduced(grad_y, node.inputs[2])
        if attrs.beta != 1:
            dc = tape.node("Mul", [dc, tape.constant(attrs.beta)])
    return grad_a, grad_b, dc
