"""Gradients of what moves elements: the gradient moved back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.autodiff import Tape, rule
from alula.runtime.errors import GraphError
from alula.runtime.graph import Node


@rule("Transpose")
def transpose(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """The inverse permutation."""
    rank = len(tape.spec(node.inputs[0]).dims)
    perm = node.attrs.perm or tuple(reversed(range(rank)))
    return (tape.node("Transpose", [gradients[0]], perm=tuple(int(i) for i in np.argsort(perm))),)


def _cut(tape: Tape, name: str, axis: int, start: int, size: int) -> str:
    ints = [tape.constant([value], "int64") for value in (start, start + size, axis)]
    return str(tape.node("Slice", [name, *ints]))


@rule("Concat")
def concat(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Each input's part."""
    axis = node.attrs.axis % len(tape.spec(node.inputs[0]).dims)
    found, start = [], 0
    for name in node.inputs:
        size = tape.spec(name).dims[axis]
        found.append(_cut(tape, gradients[0], axis, start, size) if tape.wants(name) else "")
        start += size
    return found


@rule("Split")
def split(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """The parts joined; zeros where nothing flows."""
    parts = []
    for name, gradient in zip(node.outputs, gradients, strict=True):
        parts.append(gradient or tape.constant(np.zeros(tape.spec(name).dims)))
    return tape.node("Concat", parts, axis=node.attrs.axis), *[""] * (len(node.inputs) - 1)


@rule("Slice")
def cut(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY in a tensor of zeros."""
    shape = tape.spec(node.inputs[0]).dims
    dx = tape.node("SliceGrad", [gradients[0], *node.inputs[1:]], shape=shape)
    return dx, *[""] * (len(node.inputs) - 1)


@rule("Gather")
def gather(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Each element sums the gradients of its copies; another order is put back by the inverse one."""
    shape, order = tape.spec(node.inputs[0]).dims, tape.value(node.inputs[1])
    if order is not None and order.ndim == 1 and np.array_equal(np.sort(order), np.arange(shape[node.attrs.axis])):
        back = tape.constant(np.argsort(order), "int64")
        return tape.node("Gather", [gradients[0], back], axis=node.attrs.axis), ""
    return tape.node("GatherGrad", [gradients[0], node.inputs[1]], shape=shape, axis=node.attrs.axis), ""


@rule("Pad")
def pad(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """The inner part."""
    if node.attrs.mode != "constant":
        raise GraphError(
            f"{node.label}: expected a padding with a constant on the way to what is trained, got mode "
            f"{node.attrs.mode}; freeze what lies before it"
        )
    dims, pads = tape.spec(node.inputs[0]).dims, tape.value(node.inputs[1])
    axes = tape.value(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else np.arange(len(dims))
    assert pads is not None and axes is not None
    dy = gradients[0]
    for axis, begin, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if begin < 0 or end < 0:
            raise GraphError(f"{node.label}: expected paddings of 0 or more to train through, got {begin}; use Slice")
        if begin or end:
            dy = _cut(tape, dy, int(axis) % len(dims), int(begin), dims[int(axis) % len(dims)])
    return dy, *[""] * (len(node.inputs) - 1)


@rule("Expand")
def expand(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Summed over the copies."""
    return tape.reduced(gradients[0], node.inputs[0]), ""


@rule("Tile")
def tile(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Summed over the repetitions."""
    dims, repeats = tape.spec(node.inputs[0]).dims, tape.value(node.inputs[1])
    assert repeats is not None
    folded = [int(part) for pair in zip(repeats, dims, strict=True) for part in pair]
    axes = list(range(0, len(folded), 2))
    parts = tape.reshaped(gradients[0], folded)
    return tape.node("ReduceSum", [parts, tape.constant(axes, "int64")], keepdims=0), ""


@rule("DepthToSpace", "SpaceToDepth")
def blocks(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Each is the other's inverse."""
    other = "SpaceToDepth" if node.op == "DepthToSpace" else "DepthToSpace"
    return (tape.node(other, [gradients[0]], blocksize=node.attrs.blocksize, mode=node.attrs.mode),)
