"""Gradients of MaxPool and AveragePool over one or two spatial axes."""

from __future__ import annotations

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.ops.conv.lower_product import planar
from alula.runtime.ops.pool import kernel_gradient as kernels
from alula.runtime.ops.pool.op import pool_window
from alula.runtime.planning.lowering import Lowering, lowers


@lowers("MaxPoolGrad", "AveragePoolGrad")
def lower_pool_grad(lowering: Lowering, node: Node) -> bool:
    """MaxPoolGrad(grad_y, x) and AveragePoolGrad(grad_y)."""
    spec = lowering.spec(node.outputs[0])
    rank = len(spec.dims) - 2
    if node.fused or spec.dtype != "float32" or rank not in (1, 2) or spec.size == 0:
        return False
    narrow = pool_window(node.attrs, spec.dims)
    include_pads = bool(getattr(node.attrs, "count_include_pad", 0))
    counts = [narrow.tap_counts(axis, spec.dims[1 + axis], include_pads).astype(np.float32) for axis in range(rank)]
    counts_y, counts_x = counts if rank == 2 else (np.ones(1, np.float32), counts[0])
    window = planar(narrow)
    n, h, w, c = spec.dims if rank == 2 else (spec.dims[0], 1, *spec.dims[1:])
    largest = node.op == "MaxPoolGrad"
    lowering.emit(
        kernels.f32_pool_grad, grad_y=lowering.ref(node.inputs[0]), x=lowering.ref(node.inputs[1]) if largest else 0,
        grad_x=lowering.ref(node.outputs[0]), counts_y=0 if largest else lowering.table(counts_y),
        counts_x=0 if largest else lowering.table(counts_x), largest=int(largest), n=n, h=h, w=w, c=c,
        h_out=window.out[0], w_out=window.out[1], k_h=window.kernel[0], k_w=window.kernel[1],
        stride_h=window.strides[0], stride_w=window.strides[1], pad_top=window.pads_begin[0], pad_left=window.pads_begin[1],
        dilation_h=window.dilations[0], dilation_w=window.dilations[1],
    )  # fmt: skip
    return True
