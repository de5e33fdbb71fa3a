"""Gradients of gathering and scattering: values go back to where they were read, and come from where they were put."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alula.runtime.graph import Array, Node
from alula.runtime.ops.indexing.op import rows_elements, rows_nd
from alula.runtime.ops.indexing.op_select import kept
from alula.runtime.planning.autodiff import Tape, rule


def _filled(tape: Tape, value: float, dims: tuple[int, ...]) -> str:
    return str(tape.node("Expand", [tape.constant(value), tape.constant(list(dims), "int64")]))


def _put_back(tape: Tape, grad_y: str, rows: Array, dims: tuple[int, ...], inner: tuple[int, ...]) -> str:
    """The gradient of a tensor of which known rows were read: a look-up along one axis has a kernel."""
    flat = tape.reshaped(grad_y, (rows.size, *inner))
    count = math.prod(dims[: len(dims) - len(inner)])
    found = tape.node("GatherGrad", [flat, tape.constant(rows.reshape(-1), "int64")], shape=(count, *inner), axis=0)
    return tape.reshaped(found, dims)


def _scattered_back(tape: Tape, grad_y: str, indices: str, axis: int, dims: tuple[int, ...]) -> str:
    """The gradient of a tensor of which elements along an axis were read."""
    known = tape.value(indices)
    if known is not None:
        return _put_back(tape, grad_y, rows_elements(dims, known, axis), dims, ())
    inputs = [_filled(tape, 0.0, dims), indices, grad_y]
    return str(tape.node("ScatterElements", inputs, axis=axis, reduction="add"))


@rule("GatherElements")
def gather_elements(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Each element sums the gradients of its copies."""
    x, indices = node.inputs
    return _scattered_back(tape, gradients[0], indices, node.attrs.axis, tape.spec(x).dims), ""


@rule("TopK")
def top_k(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Back to the elements that were chosen."""
    dims = tape.spec(node.inputs[0]).dims
    indices = node.outputs[1] if len(node.outputs) > 1 else ""
    if not indices:  # the node leaves them out
        _, indices = tape.node("TopK", node.inputs, outputs=2, axis=node.attrs.axis, largest=node.attrs.largest)
    return _scattered_back(tape, gradients[0], indices, node.attrs.axis, dims), ""


@rule("GatherND")
def gather_nd(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Each row sums the gradients of its copies."""
    (x, indices), batch_dims = node.inputs, node.attrs.batch_dims
    dims, known = tape.spec(x).dims, tape.value(indices)
    if known is not None:
        rows = rows_nd(dims, known, batch_dims)
        return _put_back(tape, gradients[0], rows, dims, dims[batch_dims + known.shape[-1] :]), ""
    return tape.node("GatherNDGrad", [gradients[0], indices], shape=dims, batch_dims=batch_dims), ""


@rule("Compress")
def compress(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY where the condition holds, zero elsewhere."""
    (x, condition), axis = node.inputs, node.attrs.axis
    dims, known = tape.spec(x).dims, tape.value(condition)
    assert known is not None
    places = tape.constant(kept(known), "int64")
    flat = dims if axis is not None else (tape.spec(x).size,)
    found = tape.node("GatherGrad", [gradients[0], places], shape=flat, axis=axis or 0)
    return tape.reshaped(found, dims), ""


@rule("ReverseSequence")
def reverse_sequence(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """The same again: it is its own inverse."""
    attrs = {"batch_axis": node.attrs.batch_axis, "time_axis": node.attrs.time_axis}
    return tape.node("ReverseSequence", [gradients[0], node.inputs[1]], **attrs), ""


@rule("ScatterElements", "ScatterND")
def scatter(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """To the updates from where they were put; to the data where it is still in the result.

    Of an extreme, equal shares to all that are equal to it (as Max has); where several updates replace one element, each gets
    the whole gradient, as ONNX leaves open which of them is meant.
    """
    x, indices, updates = node.inputs
    (grad_y,), y, reduction = gradients, node.outputs[0], node.attrs.reduction
    axis = {"axis": node.attrs.axis} if node.op == "ScatterElements" else {}

    def taken(name: str) -> str:
        op = "GatherElements" if node.op == "ScatterElements" else "GatherND"
        return str(tape.node(op, [name, indices], **axis))

    def scattered(data: str, parts: str, how: str) -> str:
        return str(tape.node(node.op, [data, indices, parts], reduction=how, **axis))

    wants_x, wants_updates = tape.wants(x), tape.wants(updates)
    if reduction == "add":
        return grad_y if wants_x else "", "", taken(grad_y) if wants_updates else ""
    if reduction == "none":
        zeros = _filled(tape, 0.0, tape.spec(updates).dims)
        return scattered(grad_y, zeros, "none") if wants_x else "", "", taken(grad_y) if wants_updates else ""
    if reduction == "mul":
        whole = tape.node("Mul", [grad_y, y])
        grad_x = grad_updates = ""
        if wants_x:
            factors = scattered(_filled(tape, 1.0, tape.spec(x).dims), updates, "mul")
            grad_x = tape.node("Mul", [grad_y, factors])
        if wants_updates:
            grad_updates = tape.node("Div", [taken(whole), updates])
        return grad_x, "", grad_updates
    of_x = tape.node("Cast", [tape.node("Equal", [x, y])], to="float32")
    of_updates = tape.node("Cast", [tape.node("Equal", [updates, taken(y)])], to="float32")
    share = tape.node("Div", [grad_y, scattered(of_x, of_updates, "add")])
    return (
        tape.node("Mul", [share, of_x]) if wants_x else "",
        "",
        tape.node("Mul", [taken(share), of_updates]) if wants_updates else "",
    )
