"""QuantizeLinear and DequantizeLinear between float32 and 8-bit codes, per tensor or per slice of an axis."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.elementwise.lower_cast import emit_cast
from alula.runtime.ops.integer import kernel_quantize as kernels
from alula.runtime.planning.lowering import Lowering, Ref, Word, lowers

LIMITS = {"uint8": (0.0, 255.0), "int8": (-128.0, 127.0)}
DEQUANTIZE = {"uint8": kernels.u8_dequantize, "int8": kernels.s8_dequantize}


@lowers("QuantizeLinear")
def lower_quantize(lowering: Lowering, node: Node) -> bool:
    """float32 to int8 or uint8."""
    out = lowering.spec(node.outputs[0])
    if lowering.spec(node.inputs[0]).dtype != "float32" or out.dtype not in LIMITS:
        return False
    arguments = _arguments(lowering, node)
    if arguments is None:
        return False
    low, high = LIMITS[out.dtype]
    if out.size:
        lowering.emit(kernels.f32_quantize, inplace=None, low=low, high=high, **arguments)
    return True


@lowers("DequantizeLinear")
def lower_dequantize(lowering: Lowering, node: Node) -> bool:
    """int8 or uint8 to float32."""
    spec = lowering.spec(node.inputs[0])
    arguments = _arguments(lowering, node) if spec.dtype in DEQUANTIZE else None
    if arguments is None:
        return False
    if spec.size:
        lowering.emit(DEQUANTIZE[spec.dtype], inplace=None, **arguments)
    return True


def _arguments(lowering: Lowering, node: Node) -> dict[str, Word | list[Word]] | None:
    """What both kernels take; None if the scale is not float32 or belongs to blocks."""
    dims, scale = lowering.spec(node.inputs[0]).dims, lowering.spec(node.inputs[1])
    if node.attrs.block_size or scale.dtype != "float32":
        return None
    if scale.size == 1:
        rows, columns, by_column = 1, math.prod(dims), False
    else:
        axis = node.attrs.axis % len(dims)
        by_column = math.prod(dims[axis + 1 :]) == 1
        rows, columns = math.prod(dims[: axis + 1]), math.prod(dims[axis + 1 :])
        if by_column:
            rows, columns = math.prod(dims[:axis]), dims[axis]
    zero = node.inputs[2] if len(node.inputs) > 2 else ""
    return {
        "x": lowering.ref(node.inputs[0]), "scale": lowering.ref(node.inputs[1]), "zero": _zero_ref(lowering, zero, scale.size),
        "y": lowering.ref(node.outputs[0]), "rows": rows, "columns": columns, "n": scale.size, "by_column": int(by_column),
    }  # fmt: skip


def _zero_ref(lowering: Lowering, name: str, n: int) -> Ref:
    """The address of zero points as float32."""
    if not name:
        return lowering.zeros(4 * n)
    if lowering.known(name):
        return lowering.packed(name, Packing("float32", lambda v: v.astype(np.float32)))
    spec, scratch = lowering.spec(name), lowering.scratch(4 * n)
    emit_cast(lowering, lowering.ref(name), scratch, n, spec.dtype, "float32")
    return scratch
