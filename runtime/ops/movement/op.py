"""Ops that move elements without computing: cutting, joining, repeating, reordering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import (
    INDICES,
    MANY,
    axes_of,
    axis_of,
    broadcast,
    choice,
    common_dtype,
    given,
    integers,
    known_integers,
    optional,
    optional_integers,
    tensor,
)
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.traits import TABLE, ChannelsLast, Operand, first


@frozen
class PadAttrs:
    """mode : constant, reflect, edge or wrap"""

    mode: str = "constant"


@frozen
class ConcatAttrs:
    """axis : where to join"""

    axis: int


@frozen
class SplitAttrs:
    """num_outputs : equal parts, the last one smaller if need be; without the input `split` it must be given"""

    axis: int = 0
    num_outputs: int | None = None


@frozen
class GatherAttrs:
    """axis : where to look up"""

    axis: int = 0


@frozen
class TransposeAttrs:
    """perm : the input axis of each output axis; None reverses them"""

    perm: tuple[int, ...] | None = None


@frozen
class DepthToSpaceAttrs:
    """mode : channels are (row, column, depth) for DCR, (depth, row, column) for CRD"""

    blocksize: int
    mode: str = "DCR"


@frozen
class SpaceToDepthAttrs:
    """blocksize : side of the square that becomes channels. mode : their order, as in DepthToSpace"""

    blocksize: int
    mode: str = "DCR"


def pad_widths(pads: tuple[int, ...], axes: tuple[int, ...] | None, rank: int) -> list[tuple[int, int]]:
    """(before, after) of every axis, from pads in ONNX's order: all befores, then all afters."""
    chosen = tuple(range(rank)) if axes is None else axes_of(axes, rank)
    if len(pads) != 2 * len(chosen):
        raise ShapeError(f"expected {2 * len(chosen)} pads, a begin and an end for each axis, got {pads}")
    widths = [(0, 0)] * rank
    for index, axis in enumerate(chosen):
        widths[axis] = pads[index], pads[index + len(chosen)]
    return widths


def infer_pad(attrs: PadAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Larger, or smaller where a pad is negative."""
    choice(attrs.mode, ("constant", "reflect", "edge", "wrap"), "mode")
    x = given(specs, 0)
    fill = optional(specs, 2)
    if fill is not None:
        common_dtype(specs, (0, 2))
        if fill.size != 1:
            raise ShapeError(f"expected constant_value to be a scalar, got {fill}; pad with one value")
    out = []
    for dim, (before, after) in zip(
        x.dims,
        pad_widths(known_integers(values, 1, "pads"), optional_integers(specs, values, 3, "axes"), len(x.dims)),
        strict=True,
    ):
        left = dim + min(before, 0) + min(after, 0)  # what cropping leaves
        most = max(before, after)
        limit = {"constant": most, "reflect": left - 1}.get(attrs.mode, most if left else 0)
        if left < 0:
            raise ShapeError(f"expected negative pads to leave something, got {(before, after)} for size {dim}")
        if most > max(limit, 0):
            raise ShapeError(f"expected {attrs.mode} pads that fit size {left}, got {(before, after)}; pad less")
        out.append(left + max(before, 0) + max(after, 0))
    return (tensor(out, x.dtype),)


def reference_pad(
    attrs: PadAttrs, x: Array, pads: Array, fill: Array | None = None, axes: Array | None = None
) -> tuple[Array, ...]:
    """Crop by the negative pads, then pad by the others."""
    widths = pad_widths(integers(pads), None if axes is None else integers(axes), x.ndim)
    x = x[tuple(slice(max(-b, 0), dim - max(-a, 0)) for dim, (b, a) in zip(x.shape, widths, strict=True))]
    grown = [(max(before, 0), max(after, 0)) for before, after in widths]
    extra = {} if attrs.mode != "constant" or fill is None else {"constant_values": fill.reshape(()).item()}
    return (np.pad(x, grown, mode=attrs.mode, **extra),)  # type: ignore[call-overload]


def infer_concat(attrs: ConcatAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The sizes at the axis add up; all others are equal."""
    dtype = common_dtype(specs, range(len(specs)))
    shapes = [given(specs, index).dims for index in range(len(specs))]
    axis = axis_of(attrs.axis, len(shapes[0]))
    if len({len(s) for s in shapes}) > 1 or len({s[:axis] + s[axis + 1 :] for s in shapes}) > 1:
        raise ShapeError(f"expected equal shapes but for axis {axis}, got {' and '.join(map(str, shapes))}")
    out = list(shapes[0])
    out[axis] = sum(shape[axis] for shape in shapes)
    return (tensor(out, dtype),)


def reference_concat(attrs: ConcatAttrs, *inputs: Array) -> tuple[Array, ...]:
    """One after the other."""
    return (np.concatenate(inputs, attrs.axis),)


def split_sizes(attrs: SplitAttrs, dim: int, split: tuple[int, ...] | None) -> tuple[int, ...]:
    """The size of each part."""
    if split is not None:
        if any(size < 0 for size in split) or sum(split) != dim or attrs.num_outputs not in (None, len(split)):
            raise ShapeError(f"expected parts that add up to {dim}, got {split}; correct the input split")
        return split
    if attrs.num_outputs is None or not 1 <= attrs.num_outputs <= MANY:
        raise ShapeError(f"expected the input split or num_outputs, got num_outputs {attrs.num_outputs}; give one")
    size = -(-dim // attrs.num_outputs)
    last = dim - size * (attrs.num_outputs - 1)
    if last < 0:
        raise ShapeError(f"expected at most {-(-dim // size)} parts of {dim}, got num_outputs {attrs.num_outputs}")
    return (size,) * (attrs.num_outputs - 1) + (last,)


def infer_split(attrs: SplitAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """One output for each part."""
    x = given(specs, 0)
    axis = axis_of(attrs.axis, len(x.dims))
    sizes = split_sizes(attrs, x.dims[axis], optional_integers(specs, values, 1, "split"))
    return tuple(tensor((*x.dims[:axis], size, *x.dims[axis + 1 :]), x.dtype) for size in sizes)


def reference_split(attrs: SplitAttrs, x: Array, split: Array | None = None) -> tuple[Array, ...]:
    """Views of the parts."""
    sizes = split_sizes(attrs, x.shape[attrs.axis], None if split is None else integers(split))
    return tuple(np.split(x, np.cumsum(sizes)[:-1], attrs.axis))


def slices(
    dims: tuple[int, ...],
    starts: tuple[int, ...],
    ends: tuple[int, ...],
    axes: tuple[int, ...] | None,
    steps: tuple[int, ...] | None,
) -> tuple[slice, ...]:
    """A Python slice for every axis: ONNX clamps and counts from the end as Python does."""
    chosen = axes_of(tuple(range(len(starts))) if axes is None else axes, len(dims))
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(chosen) == len(steps):
        raise ShapeError(f"expected starts, ends, axes and steps of one length, got {starts}, {ends}, {axes}, {steps}")
    if 0 in steps:
        raise ShapeError(f"expected steps other than 0, got {steps}; the slice would never end")
    out = [slice(None)] * len(dims)
    for axis, start, end, step in zip(chosen, starts, ends, steps, strict=True):
        out[axis] = slice(start, end, step)
    return tuple(out)


def infer_slice(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The number of elements that each slice takes."""
    x = given(specs, 0)
    chosen = slices(
        x.dims,
        known_integers(values, 1, "starts"),
        known_integers(values, 2, "ends"),
        optional_integers(specs, values, 3, "axes"),
        optional_integers(specs, values, 4, "steps"),
    )
    return (tensor((len(range(*s.indices(dim))) for s, dim in zip(chosen, x.dims, strict=True)), x.dtype),)


def reference_slice(
    attrs: NoAttrs, x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
) -> tuple[Array, ...]:
    """A view."""
    rest = [None if v is None else integers(v) for v in (axes, steps)]
    return (x[slices(x.shape, integers(starts), integers(ends), *rest)],)


def infer_gather(attrs: GatherAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The shape of the indices in place of the axis. Known indices must be in range."""
    x, indices = given(specs, 0), given(specs, 1, dtypes=INDICES)
    axis = axis_of(attrs.axis, len(x.dims))
    dim, found = x.dims[axis], optional(values, 1)
    if indices.size and (dim == 0 or (found is not None and (found.min() < -dim or found.max() >= dim))):
        got = "some" if found is None else f"{found.min()} to {found.max()}"
        raise ShapeError(f"expected indices in [{-dim}, {dim}), got {got}; the table has {dim} entries at axis {axis}")
    return (tensor((*x.dims[:axis], *indices.dims, *x.dims[axis + 1 :]), x.dtype),)


def reference_gather(attrs: GatherAttrs, x: Array, indices: Array) -> tuple[Array, ...]:
    """Look up. An index out of range, which only a computed one can be, is clamped: memory outside is never read."""
    dim = x.shape[attrs.axis]
    inside = np.clip(np.where(indices < 0, indices + dim, indices), 0, max(dim - 1, 0))
    return (np.asarray(np.take(x, inside, attrs.axis)),)


def infer_transpose(attrs: TransposeAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Permuted dimensions."""
    x = given(specs, 0)
    perm = tuple(reversed(range(len(x.dims)))) if attrs.perm is None else attrs.perm
    if sorted(perm) != list(range(len(x.dims))):
        raise ShapeError(f"expected perm to order the axes of {x}, got {perm}; name each axis once")
    return (tensor((x.dims[axis] for axis in perm), x.dtype),)


def reference_transpose(attrs: TransposeAttrs, x: Array) -> tuple[Array, ...]:
    """A view."""
    return (np.transpose(x, attrs.perm),)


def infer_expand(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Broadcast both ways: the result may be larger than the shape asked for."""
    x, shape = given(specs, 0), known_integers(values, 1, "shape")
    if any(dim < 0 for dim in shape):
        raise ShapeError(f"expected sizes of 0 or more, got {shape}; write 1 to keep a dimension")
    return (tensor(broadcast(x.dims, shape), x.dtype),)


def reference_expand(attrs: NoAttrs, x: Array, shape: Array) -> tuple[Array, ...]:
    """A read-only view."""
    return (np.broadcast_to(x, broadcast(x.shape, integers(shape))),)


def infer_tile(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Each dimension times its number of repeats."""
    x, repeats = given(specs, 0), known_integers(values, 1, "repeats")
    if len(repeats) != len(x.dims) or any(times < 0 for times in repeats):
        raise ShapeError(f"expected a number of repeats for each axis of {x}, got {repeats}")
    return (tensor((dim * times for dim, times in zip(x.dims, repeats, strict=True)), x.dtype),)


def reference_tile(attrs: NoAttrs, x: Array, repeats: Array) -> tuple[Array, ...]:
    """Copies side by side."""
    return (np.tile(x, integers(repeats)),)


def image(attrs: Any, specs: Specs) -> tuple[TensorSpec, tuple[int, int, int, int]]:
    """The input of DepthToSpace or SpaceToDepth and its dimensions n h w c; the block size must be positive."""
    choice(attrs.mode, ("DCR", "CRD"), "mode")
    x = given(specs, 0)
    if len(x.dims) != 4:
        raise ShapeError(f"expected (N, H, W, C), got {x}; reshape it")
    if attrs.blocksize < 1:
        raise ShapeError(f"expected a blocksize of 1 or more, got {attrs.blocksize}")
    n, h, w, c = x.dims
    return x, (n, h, w, c)


def infer_depth_to_space(attrs: DepthToSpaceAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """(N, H * b, W * b, C / b / b)"""
    x, (n, h, w, c) = image(attrs, specs)
    b = attrs.blocksize
    if c % (b * b):
        raise ShapeError(f"expected channels that blocksize² = {b * b} divides, got {x}")
    return (tensor((n, h * b, w * b, c // (b * b)), x.dtype),)


def reference_depth_to_space(attrs: DepthToSpaceAttrs, x: Array) -> tuple[Array, ...]:
    """Channels to pixels."""
    (n, h, w, c), b = x.shape, attrs.blocksize
    depth = c // (b * b)
    if attrs.mode == "DCR":
        y = x.reshape(n, h, w, b, b, depth).transpose(0, 1, 3, 2, 4, 5)
    else:
        y = x.reshape(n, h, w, depth, b, b).transpose(0, 1, 4, 2, 5, 3)
    return (y.reshape(n, h * b, w * b, depth),)


def infer_space_to_depth(attrs: SpaceToDepthAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """(N, H / b, W / b, b * b * C)"""
    x, (n, h, w, c) = image(attrs, specs)
    b = attrs.blocksize
    if h % b or w % b:
        raise ShapeError(f"expected a height and width that blocksize {b} divides, got {x}; pad it")
    return (tensor((n, h // b, w // b, c * b * b), x.dtype),)


def reference_space_to_depth(attrs: SpaceToDepthAttrs, x: Array) -> tuple[Array, ...]:
    """Pixels to channels."""
    (n, h, w, c), b = x.shape, attrs.blocksize
    y = x.reshape(n, h // b, b, w // b, b, c).transpose(
        (0, 1, 3, 2, 4, 5) if attrs.mode == "DCR" else (0, 1, 3, 5, 2, 4)
    )
    return (y.reshape(n, h // b, w // b, b * b * c),)


def _expanded(attrs: Mapping[str, Any], ranks: Sequence[int | None], lengths: Sequence[int | None]) -> int | None:
    return None if len(ranks) < 2 or ranks[0] is None or lengths[1] is None else max(ranks[0], lengths[1])


def _gathered(attrs: Mapping[str, Any], ranks: Sequence[int | None], lengths: Sequence[int | None]) -> int | None:
    return None if len(ranks) < 2 or ranks[0] is None or ranks[1] is None else ranks[0] + ranks[1] - 1


register(
    Op("Pad", infer_pad, reference_pad, PadAttrs, n_inputs=(2, 4), static_inputs=(1, 3), rank=first),
    Op("Concat", infer_concat, reference_concat, ConcatAttrs, n_inputs=(1, MANY), rank=first, has_buffers=True),
    Op("Split", infer_split, reference_split, SplitAttrs, n_inputs=(1, 2), static_inputs=(1,), rank=first),
    Op("Slice", infer_slice, reference_slice, n_inputs=(3, 5), static_inputs=(1, 2, 3, 4), rank=first),
    Op(
        "Gather", infer_gather, reference_gather, GatherAttrs, (2, 2), checked_inputs=(1,), rank=_gathered, has_buffers=True,
        operands={0: Operand(TABLE, outputs=0)},
    ),
    Op("Transpose", infer_transpose, reference_transpose, TransposeAttrs, is_view=True, rank=first),
    Op("Expand", infer_expand, reference_expand, n_inputs=(2, 2), static_inputs=(1,), rank=_expanded, has_buffers=True),
    Op("Tile", infer_tile, reference_tile, n_inputs=(2, 2), static_inputs=(1,), rank=first, has_buffers=True),
    Op(
        "DepthToSpace", infer_depth_to_space, reference_depth_to_space, DepthToSpaceAttrs, channels_last=ChannelsLast(),
        rank=first,
    ),
    Op(
        "SpaceToDepth", infer_space_to_depth, reference_space_to_depth, SpaceToDepthAttrs, channels_last=ChannelsLast(),
        rank=first,
    ),
)  # fmt: skip
