"""Gather, ArgMax and ArgMin, and paddings that repeat values: a look-up along each padded axis."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.graph import Array, Node
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.elementwise.lower_cast import emit_cast
from alula.runtime.ops.movement import kernel_gather as kernels
from alula.runtime.ops.movement.lower import lower_pad as lower_constant_pad
from alula.runtime.ops.movement.op import pad_widths
from alula.runtime.planning.lowering import Lowering, Ref, lowers

GATHER = {1: kernels.gather_1, 2: kernels.gather_2, 4: kernels.gather_4, 8: kernels.gather_8}


@lowers("Gather")
def lower_gather(lowering: Lowering, node: Node) -> bool:
    """Gather along any axis, by known or computed indices."""
    x, indices = node.inputs
    spec, count = lowering.spec(x), lowering.spec(indices).size
    if lowering.spec(node.outputs[0]).size:
        table = index_ref(lowering, indices)
        axis = node.attrs.axis % len(spec.dims)
        emit_gather(
            lowering, lowering.ref(x), table, lowering.ref(node.outputs[0]), spec.dims, axis, count, spec.itemsize
        )
    return True


@lowers("GatherGrad")
def lower_gather_grad(lowering: Lowering, node: Node) -> bool:
    """The gradient of every copy added where it was looked up."""
    grad_y, indices = node.inputs
    out, count = lowering.spec(node.outputs[0]), lowering.spec(indices).size
    if out.dtype != "float32":
        return False
    axis = node.attrs.axis % len(out.dims)
    if out.size:
        lowering.emit(
            kernels.f32_gather_grad, grad_y=lowering.ref(grad_y), indices=index_ref(lowering, indices),
            grad_x=lowering.ref(node.outputs[0]), outer=math.prod(out.dims[:axis]), size=out.dims[axis], count=count,
            inner=math.prod(out.dims[axis + 1 :]),
        )  # fmt: skip
    return True


def index_ref(lowering: Lowering, name: str) -> Ref:
    """The address of indices as int64."""
    spec = lowering.spec(name)
    if spec.dtype == "int64":
        return lowering.ref(name)
    if lowering.known(name):
        return lowering.packed(name, Packing("int64", lambda v: v.astype(np.int64)))
    scratch = lowering.scratch(8 * spec.size)
    emit_cast(lowering, lowering.ref(name), scratch, spec.size, spec.dtype, "int64")
    return scratch


def emit_gather(
    lowering: Lowering, x: Ref, indices: Ref, y: Ref, dims: tuple[int, ...], axis: int, count: int, itemsize: int
) -> None:
    """Look up `count` int64 indices along an axis of x, whose shape is `dims`."""
    lowering.emit(
        GATHER[itemsize], x=x, indices=indices, y=y, outer=math.prod(dims[:axis]), size=dims[axis], count=count,
        inner=math.prod(dims[axis + 1 :]),
    )  # fmt: skip


@lowers("Pad")
def lower_pad(lowering: Lowering, node: Node) -> bool:
    """Pad in any mode. An axis that is mirrored, repeated, wrapped or cut is a look-up; one axis after the other."""
    spec, out = lowering.spec(node.inputs[0]), lowering.spec(node.outputs[0])
    if node.attrs.mode == "constant":
        return lower_constant_pad(lowering, node)
    if out.size == 0:
        return True
    pads, chosen = (lowering.value(name) if name else None for name in (node.inputs[1], (*node.inputs, "", "")[3]))
    assert pads is not None
    axes = None if chosen is None else tuple(int(v) for v in chosen.reshape(-1))
    widths = pad_widths(tuple(int(v) for v in pads.reshape(-1)), axes, len(spec.dims))
    turns = sorted((axis for axis, width in enumerate(widths) if any(width)), key=lambda a: out.dims[a] / spec.dims[a])
    source, dims = lowering.ref(node.inputs[0]), spec.dims
    for axis in turns or [0]:
        table = padded_positions(dims[axis], *widths[axis], mode=node.attrs.mode)
        grown = (*dims[:axis], len(table), *dims[axis + 1 :])
        last = axis == turns[-1] if turns else True
        target = lowering.ref(node.outputs[0]) if last else lowering.scratch(spec.itemsize * math.prod(grown))
        emit_gather(lowering, source, lowering.table(table), target, dims, axis, len(table), spec.itemsize)
        source, dims = target, grown
    return True


def padded_positions(n: int, before: int, after: int, mode: str) -> Array:
    """Where each element along a padded axis comes from; negative pads cut first."""
    kept = np.arange(n, dtype=np.int64)[max(-before, 0) : n - max(-after, 0)]
    return np.pad(kept, (max(before, 0), max(after, 0)), mode=mode)  # type: ignore[call-overload, no-any-return]
