"""Resize: one axis after the other through scratch; nearest-neighbour of two adjacent axes in one copy."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.graph import Array, Node
from alula.runtime.ops.movement.lower_gather import emit_gather
from alula.runtime.ops.resize import kernel as kernels
from alula.runtime.ops.resize.op import AxisTable, axis_table, is_identity, resize_geometry
from alula.runtime.planning.lowering import Lowering, Ref, lowers


@lowers("Resize")
def lower_resize(lowering: Lowering, node: Node) -> bool:
    """Nearest for any dtype, linear and cubic for float32; nothing where a pixel takes the extrapolation value."""
    spec, out = lowering.spec(node.inputs[0]), lowering.spec(node.outputs[0])
    nearest = node.attrs.mode == "nearest"
    if node.fused or out.size == 0 or (not nearest and spec.dtype != "float32"):
        return False
    given = [lowering.value(name) if name else None for name in (*node.inputs[1:], "", "", "")[:3]]
    tables: dict[int, AxisTable] = {}
    for geometry in resize_geometry(node.attrs, spec.dims, *given):
        table = axis_table(node.attrs, geometry)
        if table.outside.any():
            return False
        if not is_identity(table, geometry):
            tables[geometry.axis] = table
    if not tables:
        lowering.alias(node.outputs[0], node.inputs[0])
        return True
    x, y = lowering.ref(node.inputs[0]), lowering.ref(node.outputs[0])
    if nearest and len(tables) == 2 and max(tables) == min(tables) + 1:
        rows, columns = (tables[axis].indices[:, 0] for axis in sorted(tables))
        _emit_nearest(lowering, x, y, spec.dims, min(tables), rows, columns, spec.itemsize)
        return True
    # shrinking axes come first; the last one writes the most, so it runs along the longest rows
    dims = list(spec.dims)
    order = sorted(tables, key=lambda axis: (len(tables[axis].indices) / dims[axis], -axis))
    for axis in order:
        shape = tuple(dims)
        dims[axis] = len(tables[axis].indices)
        target = y if axis == order[-1] else lowering.scratch(math.prod(dims) * spec.itemsize)
        indices = lowering.table(tables[axis].indices.astype(np.int64))
        if nearest:
            emit_gather(lowering, x, indices, target, shape, axis, dims[axis], spec.itemsize)
        else:
            lowering.emit(
                kernels.f32_resample, x=x, y=target, indices=indices, weights=lowering.table(tables[axis].weights),
                outer=math.prod(shape[:axis]), n=shape[axis], inner=math.prod(shape[axis + 1 :]), out=dims[axis],
                taps=tables[axis].indices.shape[1],
            )  # fmt: skip
        x = target
    return True


def _emit_nearest(
    lowering: Lowering, x: Ref, y: Ref, dims: tuple[int, ...], axis: int, rows: Array, columns: Array, itemsize: int
) -> None:
    """Axes `axis` and `axis` + 1 by the indices of rows and of columns."""
    lowering.emit(
        kernels.resize_nearest, x=x, y=y, rows=lowering.table(rows.astype(np.int64)),
        columns=lowering.table(columns.astype(np.int64)), outer=math.prod(dims[:axis]), h=dims[axis], w=dims[axis + 1],
        inner=math.prod(dims[axis + 2 :]) * itemsize, h_out=len(rows), w_out=len(columns),
    )  # fmt: skip
