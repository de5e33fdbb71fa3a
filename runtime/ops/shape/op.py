"""Ops on shapes: those that give the same bytes another shape, and those that compute with shapes as tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import (
    FLOATS,
    INDICES,
    axes_of,
    common_dtype,
    given,
    integers,
    known_integers,
    optional,
    optional_integers,
    tensor,
)
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.traits import Rank, always


@frozen
class ReshapeAttrs:
    """allowzero : 1 takes a 0 in the shape as it is, 0 copies that dimension from the input"""

    allowzero: int = 0


@frozen
class FlattenAttrs:
    """axis : the dimensions before it make the rows, those from it on the columns"""

    axis: int = 1


@frozen
class ShapeAttrs:
    """The dimensions from `start` to before `end`; negative ones count from the end, and both are clamped."""

    start: int = 0
    end: int | None = None


@frozen
class ConstantOfShapeAttrs:
    """One value everywhere, and the name of its dtype."""

    value: float | int | bool = 0.0
    dtype: str = "float32"


def reshaped(dims: tuple[int, ...], target: tuple[int, ...], allowzero: int) -> tuple[int, ...]:
    """The shape that Reshape gives: 0 copies a dimension, one -1 takes what is left."""
    if any(dim < -1 for dim in target) or target.count(-1) > 1 or (allowzero and 0 in target and -1 in target):
        raise ShapeError(f"expected sizes, at most one of them -1, got {target}; the shape is ambiguous")
    if not allowzero and any(dim == 0 and axis >= len(dims) for axis, dim in enumerate(target)):
        raise ShapeError(f"expected each 0 in {target} to stand for a dimension of {dims}, got too few; write the size")
    out = [dims[axis] if dim == 0 and not allowzero else dim for axis, dim in enumerate(target)]
    size, rest = math.prod(dims), math.prod(dim for dim in out if dim != -1)
    if -1 in out:
        if rest == 0 or size % rest:
            raise ShapeError(f"expected a shape of {size} elements, got {target} for {dims}; no size fits the -1")
        out[out.index(-1)] = size // rest
    elif rest != size:
        raise ShapeError(f"expected a shape of {size} elements, got {target} for {dims}; both must hold the same data")
    return tuple(out)


def infer_reshape(attrs: ReshapeAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The target shape, with its 0 and -1 filled in."""
    x = given(specs, 0)
    given(specs, 1, dtypes=INDICES)
    return (tensor(reshaped(x.dims, known_integers(values, 1, "shape"), attrs.allowzero), x.dtype),)


def reference_reshape(attrs: ReshapeAttrs, x: Array, shape: Array) -> tuple[Array, ...]:
    """The same elements in the same order."""
    return (x.reshape(reshaped(x.shape, integers(shape), attrs.allowzero)),)


def flattened(dims: tuple[int, ...], axis: int) -> tuple[int, int]:
    """Rows and columns."""
    if not -len(dims) <= axis <= len(dims):
        raise ShapeError(f"expected axis in [{-len(dims)}, {len(dims)}], got {axis}; the input is {dims}")
    axis = axis + len(dims) if axis < 0 else axis
    return math.prod(dims[:axis]), math.prod(dims[axis:])


def infer_flatten(attrs: FlattenAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Two dimensions."""
    x = given(specs, 0)
    return (tensor(flattened(x.dims, attrs.axis), x.dtype),)


def reference_flatten(attrs: FlattenAttrs, x: Array) -> tuple[Array, ...]:
    """The same elements in the same order, as a matrix."""
    return (x.reshape(flattened(x.shape, attrs.axis)),)


def squeezed(dims: tuple[int, ...], axes: tuple[int, ...] | None) -> tuple[int, ...]:
    """The dimensions without those at the axes, or without every 1 where no axes are given."""
    if axes is None:
        return tuple(dim for dim in dims if dim != 1)
    gone = axes_of(axes, len(dims))
    if any(dims[axis] != 1 for axis in gone):
        raise ShapeError(f"expected size 1 at axes {gone}, got {dims}; only such dimensions can be dropped")
    return tuple(dim for axis, dim in enumerate(dims) if axis not in gone)


def infer_squeeze(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Fewer dimensions of size 1."""
    x = given(specs, 0)
    return (tensor(squeezed(x.dims, optional_integers(specs, values, 1, "axes")), x.dtype),)


def reference_squeeze(attrs: NoAttrs, x: Array, axes: Array | None = None) -> tuple[Array, ...]:
    """The same elements."""
    return (x.reshape(squeezed(x.shape, None if axes is None else integers(axes))),)


def unsqueezed(dims: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions with a 1 at each of the axes, which count in the output."""
    rank = len(dims) + len(axes)
    new, old = axes_of(axes, rank), iter(dims)
    return tuple(1 if axis in new else next(old) for axis in range(rank))


def infer_unsqueeze(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """More dimensions of size 1."""
    x = given(specs, 0)
    given(specs, 1, dtypes=INDICES)
    return (tensor(unsqueezed(x.dims, known_integers(values, 1, "axes")), x.dtype),)


def reference_unsqueeze(attrs: NoAttrs, x: Array, axes: Array) -> tuple[Array, ...]:
    """The same elements."""
    return (x.reshape(unsqueezed(x.shape, integers(axes))),)


def infer_shape(attrs: ShapeAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """A list of int64."""
    return (tensor((len(given(specs, 0).dims[attrs.start : attrs.end]),), "int64"),)


def reference_shape(attrs: ShapeAttrs, x: Array) -> tuple[Array, ...]:
    """The dimensions; reads nothing of x but its shape."""
    return (np.array(x.shape[attrs.start : attrs.end], np.int64),)


def infer_size(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """A scalar int64."""
    given(specs, 0)
    return (tensor((), "int64"),)


def reference_size(attrs: NoAttrs, x: Array) -> tuple[Array, ...]:
    """The number of elements; reads nothing of x but its shape."""
    return (np.array(x.size, np.int64),)


def integer_range(dtype: str) -> tuple[int, int]:
    """The smallest integer of a dtype, and one more than the largest."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max) + 1


def infer_constant_of_shape(attrs: ConstantOfShapeAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The shape that the input holds."""
    given(specs, 0, dtypes=INDICES)
    dims = known_integers(values, 0, "shape")
    if any(dim < 0 for dim in dims):
        raise ShapeError(f"expected sizes of 0 or more, got {dims}; write the shape without -1")
    out = tensor(dims, attrs.dtype)
    kind = np.dtype(out.dtype).kind
    if kind in "iu" and not (isinstance(attrs.value, int) and attrs.value in range(*integer_range(out.dtype))):
        raise DTypeError(f"expected value to be {out.dtype}, got {attrs.value!r}; the model is damaged")
    return (out,)


def reference_constant_of_shape(attrs: ConstantOfShapeAttrs, shape: Array) -> tuple[Array, ...]:
    """One value everywhere."""
    return (np.full(integers(shape), attrs.value, attrs.dtype),)


def range_length(start: Array, limit: Array, delta: Array) -> int:
    """How many elements Range gives."""
    if any(v.size != 1 for v in (start, limit, delta)) or not all(np.isfinite(v).all() for v in (start, limit, delta)):
        raise ShapeError("expected finite scalars start, limit and delta, got something else; the model is damaged")
    first, last, step = (v.item() for v in (start, limit, delta))  # Python's integers or floats
    if step == 0:
        raise ShapeError("expected delta other than 0, got 0; the range would never end")
    if isinstance(step, int):
        return max(-int((first - last) // step), 0)
    count = (last - first) / step
    if not math.isfinite(count):
        raise ShapeError(f"expected a range of finite length, got {first} to {last} by {step}; correct the model")
    length: int = math.ceil(count)
    return max(length, 0)


def infer_range(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """A list from start to before limit."""
    dtype = common_dtype(specs, (0, 1, 2), (*FLOATS, "int16", "int32", "int64"))
    start, limit, delta = optional(values, 0), optional(values, 1), optional(values, 2)
    if start is None or limit is None or delta is None:
        raise ShapeError("expected start, limit and delta to be known when the program is planned, got computed ones")
    return (tensor((range_length(start, limit, delta),), dtype),)


def reference_range(attrs: NoAttrs, start: Array, limit: Array, delta: Array) -> tuple[Array, ...]:
    """start + i * delta"""
    steps = np.arange(range_length(start, limit, delta)).astype(np.float64 if start.dtype.kind == "f" else np.int64)
    return ((start.reshape(()) + steps * delta.reshape(())).astype(start.dtype),)


def _change(sign: int) -> Rank:
    """The rank grows, or shrinks, by as many as there are axes."""

    def rank(attrs: Mapping[str, Any], ranks: Sequence[int | None], lengths: Sequence[int | None]) -> int | None:
        axes = lengths[1] if len(lengths) > 1 else None
        return None if not ranks or ranks[0] is None or axes is None else ranks[0] + sign * axes

    return rank


register(
    Op(
        "Reshape", infer_reshape, reference_reshape, ReshapeAttrs, n_inputs=(2, 2), static_inputs=(1,), is_view=True,
        rank=lambda attrs, ranks, lengths: lengths[1] if len(lengths) > 1 else None,
    ),
    Op("Flatten", infer_flatten, reference_flatten, FlattenAttrs, is_view=True, rank=always(2)),
    Op(
        "Squeeze", infer_squeeze, reference_squeeze, n_inputs=(1, 2), static_inputs=(1,), is_view=True, rank=_change(-1)
    ),
    Op(
        "Unsqueeze", infer_unsqueeze, reference_unsqueeze, n_inputs=(2, 2), static_inputs=(1,), is_view=True, rank=_change(1)
    ),
    Op("Shape", infer_shape, reference_shape, ShapeAttrs, rank=always(1)),
    Op("Size", infer_size, reference_size),
    Op("ConstantOfShape", infer_constant_of_shape, reference_constant_of_shape, ConstantOfShapeAttrs, static_inputs=(0,)),
    Op("Range", infer_range, reference_range, n_inputs=(3, 3), static_inputs=(0, 1, 2)),
)  # fmt: skip
