"""Reductions, softmax, ArgMax and ArgMin."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.ops.reduce import kernel as kernels
from alula.runtime.ops.reduce import kernel_arg
from alula.runtime.ops.reduce.kernel import MAX, MIN, PRODUCT, SUM, SUM_ABS, SUM_SQUARES
from alula.runtime.planning.lowering import Lowering, lowers

FOLDS = {  # op -> (fold, fold of nothing, whether to divide by the count, whether to take the root)
    "ReduceSum": (SUM, 0.0, False, False), "ReduceMean": (SUM, 0.0, True, False), "ReduceMax": (MAX, -math.inf, False, False),
    "ReduceMin": (MIN, math.inf, False, False), "ReduceL1": (SUM_ABS, 0.0, False, False),
    "ReduceL2": (SUM_SQUARES, 0.0, False, True), "ReduceSumSquare": (SUM_SQUARES, 0.0, False, False),
    "ReduceProd": (PRODUCT, 1.0, False, False), "GlobalAveragePool": (SUM, 0.0, True, False),
    "GlobalMaxPool": (MAX, -math.inf, False, False),
}  # fmt: skip


STRIP_ROWS = 256  # maximum rows of one sum in float32
FEW_STRIPS, SHORT_STRIP = 8, 16  # threads get this many strips to share, unless they would be shorter than this


def strips_of(rows: int) -> int:
    """How many strips the rows of a sum are cut in; the same for any number of threads."""
    return max(math.ceil(rows / STRIP_ROWS), min(FEW_STRIPS, rows // SHORT_STRIP), 1)


@lowers("ReduceMean", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMax", "ReduceMin")
def lower_reduce(lowering: Lowering, node: Node) -> bool:
    """A reduction over neighbouring axes."""
    spec = lowering.spec(node.inputs[0])
    axes_name = node.inputs[1] if len(node.inputs) > 1 else ""
    axes = tuple(int(v) for v in lowering.values[axes_name].reshape(-1)) if axes_name else ()
    if not axes and getattr(node.attrs, "noop_with_empty_axes", False):
        return False
    rank = len(spec.dims)
    return emit_fold(lowering, node, sorted({a % rank for a in axes} if axes else set(range(rank))))


def emit_fold(lowering: Lowering, node: Node, axes: Sequence[int]) -> bool:
    """A reduction over axes, by the fold of the node's op."""
    spec = lowering.spec(node.inputs[0])
    axes = [a for a in axes if spec.dims[a] != 1] or list(axes[:1])  # axes of size 1 may lie in between
    if node.fused or spec.dtype != "float32" or spec.size == 0 or not axes:
        return False
    if any(spec.dims[a] != 1 for a in range(axes[0], axes[-1] + 1) if a not in axes):
        return False
    outer, inner = math.prod(spec.dims[: axes[0]]), math.prod(spec.dims[axes[-1] + 1 :])
    n = spec.size // (outer * inner)
    code, start, divide, root = FOLDS[node.op]
    x, rows = lowering.ref(node.inputs[0]), n
    if code == SUM and outer == 1 and inner > 1 and n >= STRIP_ROWS:  # threads share the rows
        strips = strips_of(n)
        sums = lowering.scratch(4 * strips * inner)
        lowering.emit(kernels.f32_strip_sums, x=x, sums=sums, rows=n, c=inner, strips=strips)
        x, rows = sums, strips
    lowering.emit(
        kernels.f32_reduce, x=x, y=lowering.ref(node.outputs[0]), outer=outer, n=rows, inner=inner,
        code=code, start=start, scale=1.0 / n if divide else 1.0, root=int(root),
    )  # fmt: skip
    return True


@lowers("Softmax", "LogSoftmax")
def lower_softmax(lowering: Lowering, node: Node) -> bool:
    """Softmax and LogSoftmax over the last axis, or over one that only axes of size 1 follow."""
    spec = lowering.spec(node.inputs[0])
    axis = node.attrs.axis % max(len(spec.dims), 1)
    if node.fused or spec.dtype != "float32" or spec.size == 0 or math.prod(spec.dims[axis + 1 :]) != 1:
        return False
    n = spec.dims[axis]
    lowering.emit(
        kernels.f32_softmax, x=lowering.ref(node.inputs[0]), y=lowering.ref(node.outputs[0]), rows=spec.size // n, n=n,
        logarithm=int(node.op == "LogSoftmax"), inplace=(node.outputs[0], node.inputs[0]),
    )  # fmt: skip
    return True


@lowers("ArgMax", "ArgMin")
def lower_arg(lowering: Lowering, node: Node) -> bool:
    """ArgMax and ArgMin of float32."""
    spec = lowering.spec(node.inputs[0])
    if spec.dtype != "float32":
        return False
    axis = node.attrs.axis % len(spec.dims)
    if spec.size:
        lowering.emit(
            kernel_arg.f32_arg, x=lowering.ref(node.inputs[0]), y=lowering.ref(node.outputs[0]), outer=math.prod(spec.dims[:axis]),
            n=spec.dims[axis], inner=math.prod(spec.dims[axis + 1 :]), sign=1 if node.op == "ArgMax" else -1,
            last=int(bool(node.attrs.select_last_index)), scratch=lowering.scratch(4 * kernel_arg.BLOCK * lowering.n_threads),
        )  # fmt: skip
    return True
