"""Gradients of ops that move elements: the gradient moved back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.ops.movement.lower_gather import padded_positions
from alula.runtime.planning.autodiff import Tape, rule


@rule("Transpose")
def transpose(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """The inverse permutation."""
    rank = len(tape.spec(node.inputs[0]).dims)
    perm = node.attrs.perm or tuple(reversed(range(rank)))
    return (tape.node("Transpose", [gradients[0]], perm=tuple(int(i) for i in np.argsort(perm))),)


def cut(tape: Tape, name: str, axis: int, start: int, size: int) -> str:
    """`size` elements of an axis, from `start` on."""
    ints = [tape.constant([value], "int64") for value in (start, start + size, axis)]
    return str(tape.node("Slice", [name, *ints]))


@rule("Concat")
def concat(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Each input's part."""
    axis = node.attrs.axis % len(tape.spec(node.inputs[0]).dims)
    found, start = [], 0
    for name in node.inputs:
        size = tape.spec(name).dims[axis]
        found.append(cut(tape, gradients[0], axis, start, size) if tape.wants(name) else "")
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
def sliced(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dY in a tensor of zeros."""
    shape = tape.spec(node.inputs[0]).dims
    grad_x = tape.node("SliceGrad", [gradients[0], *node.inputs[1:]], shape=shape)
    return grad_x, *[""] * (len(node.inputs) - 1)


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
    """The inner part; what is padded with copies sums their gradients, what is cut off has none."""
    dims, pads = tape.spec(node.inputs[0]).dims, tape.value(node.inputs[1])
    axes = tape.value(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else np.arange(len(dims))
    assert pads is not None and axes is not None
    grad_y = gradients[0]
    for axis, begin, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if begin or end:
            grad_y = _unpadded(tape, grad_y, int(axis) % len(dims), dims, int(begin), int(end), node.attrs.mode)
    return grad_y, *[""] * (len(node.inputs) - 1)


def _unpadded(tape: Tape, grad_y: str, axis: int, dims: tuple[int, ...], begin: int, end: int, mode: str) -> str:
    """The gradient before one axis was padded."""
    size, have = dims[axis], tape.spec(grad_y).dims
    shape = (*have[:axis], size, *have[axis + 1 :])
    if mode != "constant":
        copied = tape.constant(padded_positions(size, begin, end, mode), "int64")
        return str(tape.node("GatherGrad", [grad_y, copied], shape=shape, axis=axis))
    first, last = max(-begin, 0), size - max(-end, 0)
    if max(begin, end) > 0:
        grad_y = cut(tape, grad_y, axis, max(begin, 0), last - first)
    if (first, last) == (0, size):
        return grad_y
    return str(
        tape.node("SliceGrad", [grad_y, *(tape.constant([i], "int64") for i in (first, last, axis))], shape=shape)
    )


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
