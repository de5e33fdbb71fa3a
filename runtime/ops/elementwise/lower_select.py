"""Comparisons, logic and Where: operands as broadcast views, their axes merged as far as all of them allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.ops.elementwise import kernel_select as kernels
from alula.runtime.ops.movement.lower import dense_strides
from alula.runtime.planning.lowering import Lowering, Ref, Word, lowers

COMPARE = {"float32": kernels.f32_compare, "int32": kernels.s32_compare, "int64": kernels.s64_compare}
# Op -> the test, and the same with its operands exchanged
TESTS = {
    "Less": ("less", "greater"), "LessOrEqual": ("less_or_equal", "greater_or_equal"), "Greater": ("greater", "less"),
    "GreaterOrEqual": ("greater_or_equal", "less_or_equal"), "Equal": ("equal", "equal"),
}  # fmt: skip
LOGIC = {"And": "and", "Or": "or", "Xor": "xor", "Equal": "equal"}
WHERE = {1: kernels.where_1, 2: kernels.where_2, 4: kernels.where_4, 8: kernels.where_8}


def broadcast_strides(dims: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """Strides, in elements, of a dense tensor read as another shape: 0 where it is repeated."""
    strides = [s if n != 1 else 0 for n, s in zip(dims, dense_strides(dims), strict=True)]
    return [0] * (len(shape) - len(dims)) + strides


def merged_view(shape: tuple[int, ...], operands: Sequence[tuple[int, ...]]) -> tuple[list[int], list[list[int]]]:
    """(sizes, strides of each operand) with as few axes as there can be, at least one; no axis of size 1 if avoidable."""
    columns = zip(*(broadcast_strides(dims, shape) for dims in operands), strict=True)
    sizes: list[int] = []
    strides: list[tuple[int, ...]] = []
    for n, steps in zip(shape, columns, strict=True):
        if n == 1:
            continue
        if sizes and all(outer == n * inner for outer, inner in zip(strides[-1], steps, strict=True)):
            sizes[-1], strides[-1] = sizes[-1] * n, steps
        else:
            sizes.append(n)
            strides.append(steps)
    if not sizes:
        return [1], [[1] for _ in operands]
    return sizes, [list(column) for column in zip(*strides, strict=True)]


@lowers("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
def lower_compare(lowering: Lowering, node: Node) -> bool:
    """A comparison of float32, int32 or int64; of bool, Equal."""
    dtype = lowering.spec(node.inputs[0]).dtype
    if dtype == "bool" and node.op in LOGIC:
        return lower_logic(lowering, node)
    if dtype not in COMPARE:
        return False
    out = lowering.spec(node.outputs[0])
    if out.size == 0:
        return True
    sizes, (left, right) = merged_view(out.dims, [lowering.spec(name).dims for name in node.inputs])
    x, y = (lowering.ref(name) for name in node.inputs)
    straight, exchanged = TESTS[node.op]
    code = kernels.COMPARE_CODES[straight]
    if left[-1] == 0:  # the kernel wants the operand that varies on the left
        x, y, left, right, code = y, x, right, left, kernels.COMPARE_CODES[exchanged]
    lowering.emit(
        COMPARE[dtype],
        code=code,
        x=x,
        y=y,
        out=lowering.ref(node.outputs[0]),
        rank=len(sizes),
        view=[*sizes, *left, *right],
    )
    return True


@lowers("And", "Or", "Xor")
def lower_logic(lowering: Lowering, node: Node) -> bool:
    """And, Or, Xor, Equal of bool."""
    out = lowering.spec(node.outputs[0])
    if out.size == 0:
        return True
    sizes, (left, right) = merged_view(out.dims, [lowering.spec(name).dims for name in node.inputs])
    x, y = (lowering.ref(name) for name in node.inputs)
    if left[-1] == 0:
        x, y, left, right = y, x, right, left
    emit_logic(lowering, LOGIC[node.op], x, y, lowering.ref(node.outputs[0]), sizes, [*left, *right])
    return True


@lowers("Not")
def lower_not(lowering: Lowering, node: Node) -> bool:
    """Not, as Xor with true."""
    size = lowering.spec(node.outputs[0]).size
    if size:
        true = lowering.table(np.ones(1, np.uint8))
        x, y = (lowering.ref(name) for name in (node.inputs[0], node.outputs[0]))
        emit_logic(lowering, "xor", x, true, y, [size], [1, 0])
    return True


def emit_logic(lowering: Lowering, test: str, x: Ref, y: Ref, out: Ref, sizes: list[int], strides: list[int]) -> None:
    """One of LOGIC_CODES on broadcast views of bool: strides are those of x, then those of y."""
    view: list[Word] = [*sizes, *strides]
    lowering.emit(
        kernels.bool_logic,
        code=kernels.LOGIC_CODES[test],
        x=x,
        y=y,
        out=out,
        rank=len(sizes),
        view=view,
    )


@lowers("Where")
def lower_where(lowering: Lowering, node: Node) -> bool:
    """Where, for elements of any size that a kernel copies."""
    out = lowering.spec(node.outputs[0])
    if out.size == 0:
        return True
    sizes, strides = merged_view(out.dims, [lowering.spec(name).dims for name in node.inputs])
    condition, x, y = (lowering.ref(name) for name in node.inputs)
    view: list[Word] = [*sizes, *(step for operand in strides for step in operand)]
    lowering.emit(
        WHERE[out.itemsize],
        condition=condition,
        x=x,
        y=y,
        out=lowering.ref(node.outputs[0]),
        rank=len(sizes),
        view=view,
    )
    return True
