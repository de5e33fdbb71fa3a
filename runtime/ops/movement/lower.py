"""Ops that move elements without changing them: each is one or several copies between strided views."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from alula.runtime.compiler.loader import library
from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.ops.movement import kernel as kernels
from alula.runtime.ops.movement.op import pad_widths, slices
from alula.runtime.planning.lowering import Lowering, Ref, lowers

COPY = {1: kernels.copy_1, 2: kernels.copy_2, 4: kernels.copy_4, 8: kernels.copy_8}


def dense_strides(shape: Sequence[int]) -> list[int]:
    """Strides, in elements, of a tensor without gaps."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    return strides


def copy_view(source: Array, target: Array, shape: Sequence[int], strides: Sequence[int]) -> None:
    """Copy a view of float32 to the start of a dense array, now, on this thread: (A, B, C) with strides in elements."""
    library().call("copy_4", source, target, len(shape), *shape, *strides, *dense_strides(shape))


def emit_copy(
    lowering: Lowering,
    x: Ref,
    y: Ref,
    shape: Sequence[int],
    x_strides: Sequence[int],
    y_strides: Sequence[int],
    itemsize: int,
) -> None:
    """Copy a view of x to a view of y; strides in elements."""
    if math.prod(shape) == 0:
        return
    axes = [[n, sx, sy] for n, sx, sy in zip(shape, x_strides, y_strides, strict=True) if n != 1]
    axes.sort(key=lambda axis: -abs(axis[2]))
    merged: list[list[int]] = []
    for axis in axes:
        if merged and merged[-1][1] == axis[0] * axis[1] and merged[-1][2] == axis[0] * axis[2]:
            merged[-1] = [merged[-1][0] * axis[0], axis[1], axis[2]]
        else:
            merged.append(axis)
    while len(merged) < 2:
        merged.insert(0, [1, 0, 0])
    if merged[-1][1] != 1:  # the kernel walks tiles of the two dimensions that are dense in y and in x
        dense = next((i for i, axis in enumerate(merged[:-1]) if axis[1] == 1), None)
        if dense is not None:
            merged.insert(len(merged) - 2, merged.pop(dense))
    view = [axis[i] for i in range(3) for axis in merged]
    lowering.emit(COPY[itemsize], x=x, y=y, rank=len(merged), view=list(view))


def _integers(lowering: Lowering, node: Node, index: int) -> tuple[int, ...] | None:
    """The known value of an input as integers; None if it is absent."""
    if index >= len(node.inputs) or not node.inputs[index]:
        return None
    value = lowering.value(node.inputs[index])
    return None if value is None else tuple(int(v) for v in value.reshape(-1))


def lower_alias(lowering: Lowering, node: Node) -> bool:
    """Reshape and its like: the same bytes under another shape."""
    if any(node.outputs[1:]):
        return False
    lowering.alias(node.outputs[0], node.inputs[0])
    return True


@lowers("Transpose")
def lower_transpose(lowering: Lowering, node: Node) -> bool:
    """Transpose; an alias where only dimensions of size 1 move."""
    spec = lowering.spec(node.inputs[0])
    perm = node.attrs.perm or tuple(range(len(spec.dims)))[::-1]
    long = [p for p in perm if spec.dims[p] != 1]
    if long == sorted(long):
        return lower_alias(lowering, node)
    strides, shape = dense_strides(spec.dims), [spec.dims[p] for p in perm]
    x, y = lowering.ref(node.inputs[0]), lowering.ref(node.outputs[0])
    emit_copy(lowering, x, y, shape, [strides[p] for p in perm], dense_strides(shape), spec.itemsize)
    return True


@lowers("Slice")
def lower_slice(lowering: Lowering, node: Node) -> bool:
    """Slice, with steps of either sign."""
    spec, shape = lowering.spec(node.inputs[0]), lowering.spec(node.outputs[0]).dims
    start, hops = _sliced(lowering, node, spec.dims)
    x = lowering.ref(node.inputs[0]) + start * spec.itemsize
    emit_copy(lowering, x, lowering.ref(node.outputs[0]), shape, hops, dense_strides(shape), spec.itemsize)
    return True


@lowers("SliceGrad")
def lower_slice_grad(lowering: Lowering, node: Node) -> bool:
    """Zeros, then the gradient where the slice was cut."""
    out, shape = lowering.spec(node.outputs[0]), lowering.spec(node.inputs[0]).dims
    grad_x = lowering.ref(node.outputs[0])
    start, hops = _sliced(lowering, node, out.dims)
    if math.prod(shape) < out.size:
        emit_fill(lowering, 0, grad_x, out)
    grad_y = lowering.ref(node.inputs[0])
    emit_copy(lowering, grad_y, grad_x + start * out.itemsize, shape, dense_strides(shape), hops, out.itemsize)
    return True


def _sliced(lowering: Lowering, node: Node, dims: tuple[int, ...]) -> tuple[int, list[int]]:
    """Where the slice of a tensor of shape `dims` starts, and its strides there, in elements."""
    starts, ends, axes, steps = (_integers(lowering, node, i) for i in range(1, 5))
    assert starts is not None and ends is not None
    parts = [range(n)[part] for n, part in zip(dims, slices(dims, starts, ends, axes, steps), strict=True)]
    strides = dense_strides(dims)
    start = sum(part.start * stride for part, stride in zip(parts, strides, strict=True))
    return start, [part.step * stride for part, stride in zip(parts, strides, strict=True)]


@lowers("Concat")
def lower_concat(lowering: Lowering, node: Node) -> bool:
    """Concat: one copy per input, into its place."""
    out = lowering.spec(node.outputs[0])
    axis, at = node.attrs.axis % len(out.dims), 0
    y, y_strides = lowering.ref(node.outputs[0]), dense_strides(out.dims)
    for name in node.inputs:
        spec = lowering.spec(name)
        target = y + at * y_strides[axis] * out.itemsize
        emit_copy(lowering, lowering.ref(name), target, spec.dims, dense_strides(spec.dims), y_strides, out.itemsize)
        at += spec.dims[axis]
    return True


@lowers("Split")
def lower_split(lowering: Lowering, node: Node) -> bool:
    """Split: one copy per output."""
    spec = lowering.spec(node.inputs[0])
    axis, at, strides = node.attrs.axis % len(spec.dims), 0, dense_strides(spec.dims)
    x = lowering.ref(node.inputs[0])
    if not all(node.outputs):
        return False
    for name in node.outputs:
        part = lowering.spec(name)
        source = x + at * strides[axis] * spec.itemsize
        emit_copy(lowering, source, lowering.ref(name), part.dims, strides, dense_strides(part.dims), spec.itemsize)
        at += part.dims[axis]
    return True


@lowers("Expand")
def lower_expand(lowering: Lowering, node: Node) -> bool:
    """Expand: a view with strides of 0."""
    emit_broadcast(lowering, node.inputs[0], lowering.ref(node.outputs[0]), lowering.spec(node.outputs[0]).dims)
    return True


def emit_broadcast(lowering: Lowering, name: str, y: Ref, shape: tuple[int, ...]) -> None:
    """Write a tensor to y, broadcast to a shape."""
    spec = lowering.spec(name)
    lead = len(shape) - len(spec.dims)
    strides = [0] * lead + [s if n != 1 else 0 for n, s in zip(spec.dims, dense_strides(spec.dims), strict=True)]
    emit_copy(lowering, lowering.ref(name), y, shape, strides, dense_strides(shape), spec.itemsize)


@lowers("Tile")
def lower_tile(lowering: Lowering, node: Node) -> bool:
    """Tile: each axis becomes (repeats, size), the first with stride 0."""
    spec, repeats = lowering.spec(node.inputs[0]), lowering.value(node.inputs[1])
    assert repeats is not None
    shape, strides = [], []
    for n, stride, count in zip(spec.dims, dense_strides(spec.dims), repeats.tolist(), strict=True):
        shape += [count, n]
        strides += [0, stride]
    emit_copy(
        lowering,
        lowering.ref(node.inputs[0]),
        lowering.ref(node.outputs[0]),
        shape,
        strides,
        dense_strides(shape),
        spec.itemsize,
    )
    return True


def emit_regroup(lowering: Lowering, node: Node, shape: Sequence[int], perm: Sequence[int]) -> None:
    """Reshape, transpose, reshape: what blocks of space and of depth exchange."""
    spec = lowering.spec(node.inputs[0])
    strides, transposed = dense_strides(shape), [shape[p] for p in perm]
    x, y = lowering.ref(node.inputs[0]), lowering.ref(node.outputs[0])
    emit_copy(lowering, x, y, transposed, [strides[p] for p in perm], dense_strides(transposed), spec.itemsize)


@lowers("DepthToSpace")
def lower_depth_to_space(lowering: Lowering, node: Node) -> bool:
    """DepthToSpace of (N, H, W, C) images."""
    n, h, w, c = lowering.spec(node.inputs[0]).dims
    b = node.attrs.blocksize
    if node.attrs.mode == "DCR":
        emit_regroup(lowering, node, (n, h, w, b, b, c // (b * b)), (0, 1, 3, 2, 4, 5))
    else:
        emit_regroup(lowering, node, (n, h, w, c // (b * b), b, b), (0, 1, 4, 2, 5, 3))
    return True


@lowers("SpaceToDepth")
def lower_space_to_depth(lowering: Lowering, node: Node) -> bool:
    """SpaceToDepth of (N, H, W, C) images."""
    n, h, w, c = lowering.spec(node.inputs[0]).dims
    b = node.attrs.blocksize
    emit_regroup(
        lowering,
        node,
        (n, h // b, b, w // b, b, c),
        (0, 1, 3, 2, 4, 5) if node.attrs.mode == "DCR" else (0, 1, 3, 5, 2, 4),
    )
    return True


def emit_fill(lowering: Lowering, value: float | int, y: Ref, spec: TensorSpec) -> None:
    """Set every element of a tensor to one value."""
    one = lowering.table(np.full(1, value, spec.dtype))
    emit_copy(lowering, one, y, spec.dims, [0] * len(spec.dims), dense_strides(spec.dims), spec.itemsize)


def lower_pad(lowering: Lowering, node: Node) -> bool:
    """Pad with a constant; negative pads cut."""
    spec, out = lowering.spec(node.inputs[0]), lowering.spec(node.outputs[0])
    value_name = node.inputs[2] if len(node.inputs) > 2 else ""
    if node.attrs.mode != "constant" or (value_name and not lowering.known(value_name)):
        return False
    value = lowering.value(value_name) if value_name else None
    widths, axes = _integers(lowering, node, 1), _integers(lowering, node, 3)
    assert widths is not None
    pads = pad_widths(widths, axes, len(spec.dims))
    y = lowering.ref(node.outputs[0])
    emit_fill(lowering, value.reshape(-1)[0].item() if value is not None else 0, y, out)
    x_strides, y_strides = dense_strides(spec.dims), dense_strides(out.dims)
    x_at = sum(max(-begin, 0) * s for (begin, _), s in zip(pads, x_strides, strict=True))
    y_at = sum(max(begin, 0) * s for (begin, _), s in zip(pads, y_strides, strict=True))
    kept = [n + min(begin, 0) + min(end, 0) for n, (begin, end) in zip(spec.dims, pads, strict=True)]
    emit_copy(
        lowering,
        lowering.ref(node.inputs[0]) + x_at * spec.itemsize,
        y + y_at * out.itemsize,
        kept,
        x_strides,
        y_strides,
        out.itemsize,
    )
    return True
