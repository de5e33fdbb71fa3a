"""Reductions over axes. References accumulate floats in float64 and round once; empty sets give the neutral element."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import (
    BOOL,
    FLOATS,
    INDICES,
    NUMBERS,
    axes_of,
    axis_of,
    given,
    integers,
    optional_integers,
    tensor,
)
from alula.runtime.ops.contract import Op, Specs, Values, register

SUMMABLE = (*FLOATS, "int32", "int64", "uint32", "uint64")

Function = Callable[[Array, tuple[int, ...], bool], Any]


@frozen
class ReduceAttrs:
    """keepdims : 1 leaves reduced axes with size 1. noop_with_empty_axes : 1 reduces nothing where no axes are given"""

    keepdims: int = 1
    noop_with_empty_axes: int = 0


@frozen
class ArgAttrs:
    """select_last_index : 1 takes the last of equal elements, 0 the first"""

    axis: int = 0
    keepdims: int = 1
    select_last_index: int = 0


def reduced_axes(attrs: ReduceAttrs, axes: tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """The axes to reduce, counted from 0: all of them where none are given, unless that means none."""
    if not axes:
        return () if attrs.noop_with_empty_axes else tuple(range(rank))
    return axes_of(axes, rank)


def reduced_shape(dims: tuple[int, ...], axes: tuple[int, ...], keepdims: int) -> tuple[int, ...]:
    """The shape that is left."""
    if keepdims:
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(dims))
    return tuple(dim for axis, dim in enumerate(dims) if axis not in axes)


def reduction(name: str, function: Function, dtypes: tuple[str, ...] = SUMMABLE, *, wide: bool = True) -> Op:
    """A reduction by a function of (x, axes, keepdims); a wide one computes floats in float64."""

    def infer(attrs: ReduceAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
        x = given(specs, 0, dtypes=dtypes)
        if len(specs) > 1 and specs[1] is not None:
            given(specs, 1, dtypes=INDICES)
        axes = reduced_axes(attrs, optional_integers(specs, values, 1, "axes"), len(x.dims))
        return (tensor(reduced_shape(x.dims, axes, attrs.keepdims), x.dtype),)

    def reference(attrs: ReduceAttrs, x: Array, axes: Array | None = None) -> tuple[Array, ...]:
        chosen = reduced_axes(attrs, None if axes is None else integers(axes), x.ndim)
        source = x.astype(np.float64) if wide and x.dtype.kind == "f" else x
        with np.errstate(all="ignore"):
            return (np.asarray(function(source, chosen, bool(attrs.keepdims))).astype(x.dtype),)

    return Op(
        name, infer, reference, attrs=ReduceAttrs, n_inputs=(1, 2), static_inputs=(1,),
        rank=_rank,
    )  # fmt: skip


def _rank(attrs: Mapping[str, Any], ranks: Sequence[int | None], lengths: Sequence[int | None]) -> int | None:
    """As the input's, less the axes that go. Without axes all go, or none if `noop_with_empty_axes` says so."""
    if not ranks or ranks[0] is None or attrs.get("keepdims", 1):
        return ranks[0] if ranks else None
    if len(ranks) < 2:
        return ranks[0] if attrs.get("noop_with_empty_axes") else 0
    return ranks[0] - lengths[1] if lengths[1] else None


def _arg_rank(attrs: Mapping[str, Any], ranks: Sequence[int | None], lengths: Sequence[int | None]) -> int | None:
    """As the input's, less the axis that goes."""
    if not ranks or ranks[0] is None:
        return None
    return ranks[0] if attrs.get("keepdims", 1) else ranks[0] - 1


def mean(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """The mean; of integers truncated, of an empty set NaN."""
    count = int(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))
    total = np.sum(x, axes, keepdims=keepdims, dtype=x.dtype)
    if x.dtype.kind == "f":
        return np.asarray(np.divide(total, count))
    return np.asarray((total - np.fmod(total, total.dtype.type(max(count, 1)))) // max(count, 1))


def log_sum_exp(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """log(sum(exp(x))), without overflow."""
    x = x.astype(np.float64)
    top = np.max(x, axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    total = np.log(np.sum(np.exp(x - top), axes, keepdims=True)) + top
    return np.asarray(total if keepdims else np.squeeze(total, axes))


def largest(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """The maximum; for an empty set the minimum value of the dtype."""
    least = {"f": -np.inf, "b": False}.get(x.dtype.kind)
    return np.asarray(np.max(x, axes, keepdims=keepdims, initial=np.iinfo(x.dtype).min if least is None else least))


def smallest(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """The minimum; for an empty set the maximum value of the dtype."""
    most = {"f": np.inf, "b": True}.get(x.dtype.kind)
    return np.asarray(np.min(x, axes, keepdims=keepdims, initial=np.iinfo(x.dtype).max if most is None else most))


def infer_arg(attrs: ArgAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """int64 indices along an axis that is not empty."""
    x = given(specs, 0, dtypes=NUMBERS)
    axis = axis_of(attrs.axis, len(x.dims))
    if x.dims[axis] == 0:
        raise ShapeError(f"expected at least one element along axis {axis}, got {x}; there is no largest of none")
    return (tensor(reduced_shape(x.dims, (axis,), attrs.keepdims), "int64"),)


def reference_arg(function: Callable[..., Any]) -> Callable[..., tuple[Array, ...]]:
    """The reference of ArgMax or ArgMin by NumPy's function."""

    def reference(attrs: ArgAttrs, x: Array) -> tuple[Array, ...]:
        axis = attrs.axis % x.ndim
        if attrs.select_last_index:
            index = x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis)
        else:
            index = function(x, axis=axis)
        index = np.asarray(index, np.int64)
        return (np.expand_dims(index, axis) if attrs.keepdims else index,)

    return reference


register(
    reduction("ReduceMean", mean),
    reduction("ReduceSum", lambda x, axes, keep: np.sum(x, axes, keepdims=keep, dtype=x.dtype)),
    reduction("ReduceProd", lambda x, axes, keep: np.prod(x, axes, keepdims=keep, dtype=x.dtype)),
    reduction("ReduceL1", lambda x, axes, keep: np.sum(np.abs(x), axes, keepdims=keep)),
    reduction("ReduceL2", lambda x, axes, keep: np.sqrt(np.sum(np.square(x), axes, keepdims=keep))),
    reduction("ReduceSumSquare", lambda x, axes, keep: np.sum(np.square(x), axes, keepdims=keep)),
    reduction("ReduceLogSum", lambda x, axes, keep: np.log(np.sum(x, axes, keepdims=keep))),
    reduction("ReduceLogSumExp", log_sum_exp),
    reduction("ReduceMax", largest, NUMBERS + BOOL, wide=False),
    reduction("ReduceMin", smallest, NUMBERS + BOOL, wide=False),
    Op("ArgMax", infer_arg, reference_arg(np.argmax), attrs=ArgAttrs, rank=_arg_rank),
    Op("ArgMin", infer_arg, reference_arg(np.argmin), attrs=ArgAttrs, rank=_arg_rank),
)
