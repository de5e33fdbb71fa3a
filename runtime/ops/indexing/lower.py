"""Gathering, scattering, and the largest elements.

Known indices are a table of row numbers, made when the program is planned, for one look-up.
"""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.graph import Array, Node
from alula.runtime.ops.indexing import kernel as kernels
from alula.runtime.ops.indexing.op import rows_elements, rows_nd
from alula.runtime.ops.movement.lower import emit_copy
from alula.runtime.ops.movement.lower_gather import emit_gather, index_ref
from alula.runtime.planning.lowering import Lowering, lowers


def _rows(lowering: Lowering, node: Node) -> tuple[Array, int] | None:
    """The known rows that a node reads or writes, and the elements of each; None if they are computed."""
    indices, dims = lowering.value(node.inputs[1]), lowering.spec(node.inputs[0]).dims
    if indices is None:
        return None
    if node.op in ("GatherElements", "ScatterElements"):
        return rows_elements(dims, indices, node.attrs.axis).reshape(-1), 1
    batch_dims = node.attrs.batch_dims if node.op == "GatherND" else 0
    inner = math.prod(dims[batch_dims + indices.shape[-1] :])
    return rows_nd(dims, indices, batch_dims).reshape(-1), inner


@lowers("GatherElements", "GatherND")
def lower_gather(lowering: Lowering, node: Node) -> bool:
    """Look up rows of the data as a matrix."""
    found, spec = _rows(lowering, node), lowering.spec(node.inputs[0])
    if found is None:
        return node.op == "GatherElements" and _gather_computed(lowering, node)
    rows, inner = found
    if rows.size * inner:
        x, y = lowering.ref(node.inputs[0]), lowering.ref(node.outputs[0])
        matrix = (spec.size // inner, inner)
        emit_gather(lowering, x, lowering.table(rows), y, matrix, 0, rows.size, spec.itemsize)
    return True


def _gather_computed(lowering: Lowering, node: Node) -> bool:
    """GatherElements of 4 bytes, where the indices have the data's shape but for the axis."""
    x, indices = (lowering.spec(name) for name in node.inputs)
    axis = node.attrs.axis % len(x.dims)
    before, after = x.dims[:axis], x.dims[axis + 1 :]
    if x.itemsize != 4 or (indices.dims[:axis], indices.dims[axis + 1 :]) != (before, after):
        return False
    if indices.size:
        lowering.emit(
            kernels.gather_elements_4, x=lowering.ref(node.inputs[0]), indices=index_ref(lowering, node.inputs[1]),
            y=lowering.ref(node.outputs[0]), outer=math.prod(before), size=x.dims[axis], count=indices.dims[axis],
            inner=math.prod(after),
        )  # fmt: skip
    return True


@lowers("TopK")
def lower_top_k(lowering: Lowering, node: Node) -> bool:
    """TopK of float32 along the last axis, or along one that only axes of size 1 follow."""
    x = lowering.spec(node.inputs[0])
    axis = node.attrs.axis % len(x.dims)
    k = lowering.value(node.inputs[1])
    if x.dtype != "float32" or math.prod(x.dims[axis + 1 :]) != 1 or k is None:
        return False
    outer, count = math.prod(x.dims[:axis]), int(k.reshape(()))
    if outer * count:
        names = (*node.outputs, "")[:2]
        y, places = (
            lowering.ref(name) if name else lowering.scratch(size * outer * count)
            for name, size in zip(names, (4, 8), strict=True)
        )
        lowering.emit(
            kernels.f32_top_k, x=lowering.ref(node.inputs[0]), y=y, places=places, outer=outer, n=x.dims[axis], k=count,
            sign=1 if node.attrs.largest else -1,
        )  # fmt: skip
    return True


@lowers("ScatterElements", "ScatterND")
def lower_scatter(lowering: Lowering, node: Node) -> bool:
    """Look up each row of the result in the data, which the updates follow; the last update of a row counts."""
    found, spec = _rows(lowering, node), lowering.spec(node.outputs[0])
    if found is None or node.attrs.reduction != "none":
        return False
    rows, inner = found
    if not spec.size:
        return True
    count = spec.size // max(inner, 1)
    source = np.arange(count)
    source[rows] = count + np.arange(rows.size)
    both = lowering.scratch(spec.itemsize * (count + rows.size) * inner)
    for name, place, size in ((node.inputs[0], 0, spec.size), (node.inputs[2], spec.size, rows.size * inner)):
        if size:
            emit_copy(lowering, lowering.ref(name), both + place * spec.itemsize, (size,), (1,), (1,), spec.itemsize)
    y = lowering.ref(node.outputs[0])
    emit_gather(lowering, both, lowering.table(source), y, (count + rows.size, inner), 0, count, spec.itemsize)
    return True
