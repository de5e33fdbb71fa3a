"""Gathering and scattering by tensors of positions. An index below zero counts from the end.

A known index must be in range; a computed one is clamped, so that memory outside is never touched. All four ops come down
to `rows`: the numbers of the rows of a matrix, (first axes, the others), that are read or written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import (
    INDICES,
    NUMBERS,
    axis_of,
    choice,
    common_dtype,
    given,
    one_of,
    optional,
    show,
    tensor,
)
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import first

REDUCTIONS: dict[str, Callable[[Array, Array, Array], None]] = {
    "add": np.add.at,
    "mul": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


@frozen
class GatherElementsAttrs:
    """axis : along which the indices count"""

    axis: int = 0


@frozen
class GatherNDAttrs:
    """batch_dims : leading axes that data and indices share"""

    batch_dims: int = 0


@frozen
class GatherNDGradAttrs:
    """GatherND's attribute, and the shape of its input."""

    shape: tuple[int, ...]
    batch_dims: int = 0


@frozen
class ScatterElementsAttrs:
    """axis : along which the indices count. reduction : none, add, mul, max or min, of the old value and the updates"""

    axis: int = 0
    reduction: str = "none"


@frozen
class ScatterNDAttrs:
    """reduction : none, add, mul, max or min, of the old value and the updates"""

    reduction: str = "none"


def inside(indices: Array, size: int) -> Array:
    """Indices counted from the start, within [0, size)."""
    return np.clip(np.where(indices < 0, indices + size, indices), 0, max(size - 1, 0)).astype(np.int64)


def rows_elements(dims: Sequence[int], indices: Array, axis: int) -> Array:
    """The number of the element of a tensor of shape `dims` that each index means; shape of the indices."""
    places = list(np.ogrid[tuple(slice(size) for size in indices.shape)])
    places[axis % len(dims)] = inside(indices, dims[axis])
    return _numbers(places, dims, indices.shape)


def rows_nd(dims: Sequence[int], indices: Array, batch_dims: int = 0) -> Array:
    """The number of the row that each vector of indices means; (..., K) indices, K coordinates each, to (...)."""
    shape, count = indices.shape[:-1], indices.shape[-1]
    places: list[Array] = list(np.ogrid[tuple(slice(size) for size in shape)])[:batch_dims]
    places += [inside(indices[..., i], dims[batch_dims + i]) for i in range(count)]
    return _numbers(places, dims[: batch_dims + count], shape)


def _numbers(places: Sequence[Array], dims: Sequence[int], shape: tuple[int, ...]) -> Array:
    number: Array = np.zeros(shape, np.int64)
    for place, size in zip(places, dims, strict=True):
        number = number * size + place
    return number


def _check_range(values: Values, index: int, sizes: Sequence[int]) -> None:
    """Known indices: the last axis (or all of them, for one size) within the sizes."""
    value = optional(values, index)
    if value is None or not value.size:
        return
    for i, size in enumerate(sizes):
        part = value if len(sizes) == 1 else value[..., i]
        if part.min() < -size or part.max() >= size:
            raise ShapeError(f"expected indices in [{-size}, {size}), got {part.min()} to {part.max()}; correct them")


def _along_axis(specs: Specs, values: Values, axis: int) -> tuple[TensorSpec, TensorSpec]:
    """Data and indices of an op that works along one axis."""
    x, indices = given(specs, 0, "data"), given(specs, 1, "indices", INDICES)
    if len(x.dims) != len(indices.dims):
        raise ShapeError(f"expected indices of {len(x.dims)} dimensions as the data has, got {indices}; reshape them")
    axis = axis_of(axis, len(x.dims))
    if any(have > size for i, (have, size) in enumerate(zip(indices.dims, x.dims, strict=True)) if i != axis):
        raise ShapeError(f"expected indices within {show(x.dims)} but for axis {axis}, got {indices}; cut them")
    if indices.size and not x.dims[axis]:
        raise ShapeError(f"expected data with elements along axis {axis}, got {x}; there is nothing to index")
    _check_range(values, 1, (x.dims[axis],))
    return x, indices


def _coordinates(specs: Specs, values: Values, batch_dims: int = 0) -> tuple[TensorSpec, TensorSpec, tuple[int, ...]]:
    """Data, indices, and the data's axes that are left when each vector of indices has chosen."""
    x, indices = given(specs, 0, "data"), given(specs, 1, "indices", INDICES)
    rank = len(x.dims)
    if not 0 <= batch_dims < max(min(rank, len(indices.dims)), 1):
        raise ShapeError(
            f"expected batch_dims below {min(rank, len(indices.dims))}, got {batch_dims}; correct the model"
        )
    if not indices.dims or not 1 <= indices.dims[-1] <= rank - batch_dims:
        raise ShapeError(f"expected indices of 1 to {rank - batch_dims} coordinates, got {indices}; check the model")
    if indices.dims[:batch_dims] != x.dims[:batch_dims]:
        raise ShapeError(f"expected the first {batch_dims} axes of {x} for the indices, got {indices}; check the model")
    chosen = x.dims[batch_dims : batch_dims + indices.dims[-1]]
    if indices.size and 0 in chosen:
        raise ShapeError(f"expected data with elements, got {x}; there is nothing to index")
    _check_range(values, 1, chosen)
    return x, indices, x.dims[batch_dims + indices.dims[-1] :]


def infer_gather_elements(attrs: GatherElementsAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The shape of the indices."""
    x, indices = _along_axis(specs, values, attrs.axis)
    return (tensor(indices.dims, x.dtype),)


def gather_elements(attrs: GatherElementsAttrs, x: Array, indices: Array) -> tuple[Array, ...]:
    """y[i, j, k] = x[i, indices[i, j, k], k], for axis 1 of 3."""
    return (np.asarray(x.reshape(-1)[rows_elements(x.shape, indices, attrs.axis)]),)


def infer_gather_nd(attrs: GatherNDAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The shape of the indices without their last axis, then the data's axes that are left."""
    x, indices, rest = _coordinates(specs, values, attrs.batch_dims)
    return (tensor((*indices.dims[:-1], *rest), x.dtype),)


def gather_nd(attrs: GatherNDAttrs, x: Array, indices: Array) -> tuple[Array, ...]:
    """y[i] = x[indices[i]], where each indices[i] is a vector of coordinates."""
    rest = x.shape[attrs.batch_dims + indices.shape[-1] :]
    matrix = x.reshape(-1, *rest) if x.size else np.zeros((1, *rest), x.dtype)
    return (np.asarray(matrix[rows_nd(x.shape, indices, attrs.batch_dims)]),)


def _infer_gather_nd_grad(attrs: GatherNDGradAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    return (tensor(attrs.shape, given(specs, 0, "dY").dtype),)


def gather_nd_grad(attrs: GatherNDGradAttrs, grad_y: Array, indices: Array) -> tuple[Array, ...]:
    """The gradients of all copies of a row, summed where it was read."""
    rest = attrs.shape[attrs.batch_dims + indices.shape[-1] :]
    grad_x = np.zeros(attrs.shape, grad_y.dtype)
    np.add.at(grad_x.reshape(-1, *rest), rows_nd(attrs.shape, indices, attrs.batch_dims), grad_y)
    return (grad_x,)


def _check_updates(specs: Specs, reduction: str, wanted: tuple[int, ...]) -> None:
    choice(reduction, ("none", *REDUCTIONS), "reduction")
    common_dtype(specs, (0, 2))
    updates = given(specs, 2, "updates")
    if reduction != "none":
        one_of("the data", updates, NUMBERS)
    if updates.dims != wanted:
        raise ShapeError(f"expected updates {show(wanted)}, got {updates}; check the model")


def infer_scatter_elements(attrs: ScatterElementsAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The data's spec."""
    x, indices = _along_axis(specs, values, attrs.axis)
    _check_updates(specs, attrs.reduction, indices.dims)
    return (x,)


def put(x: Array, rows: Array, updates: Array, reduction: str) -> Array:
    """A copy of a matrix with rows replaced by updates, or reduced with them; of several to one row, in order.

    x, updates : (ROWS, ...), (COUNT, ...). rows : (COUNT,)
    """
    y = np.array(x)
    with np.errstate(all="ignore"):
        if reduction == "none":
            y[rows] = updates
        else:
            REDUCTIONS[reduction](y, rows, updates)
    return y


def scatter_elements(attrs: ScatterElementsAttrs, x: Array, indices: Array, updates: Array) -> tuple[Array, ...]:
    """y = x, but y[i, indices[i, j, k], k] = updates[i, j, k], for axis 1 of 3."""
    rows = rows_elements(x.shape, indices, attrs.axis).reshape(-1)
    return (put(x.reshape(-1), rows, updates.reshape(-1), attrs.reduction).reshape(x.shape),)


def infer_scatter_nd(attrs: ScatterNDAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The data's spec."""
    x, indices, rest = _coordinates(specs, values)
    _check_updates(specs, attrs.reduction, (*indices.dims[:-1], *rest))
    return (x,)


def scatter_nd(attrs: ScatterNDAttrs, x: Array, indices: Array, updates: Array) -> tuple[Array, ...]:
    """y = x, but y[indices[i]] = updates[i], where each indices[i] is a vector of coordinates."""
    rest = x.shape[indices.shape[-1] :]
    rows = rows_nd(x.shape, indices).reshape(-1)
    matrix = x.reshape(math.prod(x.shape[: indices.shape[-1]]), *rest)
    return (put(matrix, rows, updates.reshape(rows.size, *rest), attrs.reduction).reshape(x.shape),)


register(
    Op("GatherElements", infer_gather_elements, gather_elements, GatherElementsAttrs, (2, 2), checked_inputs=(1,), rank=first),
    Op("GatherND", infer_gather_nd, gather_nd, GatherNDAttrs, (2, 2), checked_inputs=(1,)),
    Op("GatherNDGrad", _infer_gather_nd_grad, gather_nd_grad, GatherNDGradAttrs, n_inputs=(2, 2)),
    Op(
        "ScatterElements", infer_scatter_elements, scatter_elements, ScatterElementsAttrs, (3, 3), checked_inputs=(1,), rank=first,
        has_buffers=True,
    ),
    Op("ScatterND", infer_scatter_nd, scatter_nd, ScatterNDAttrs, (3, 3), checked_inputs=(1,), rank=first, has_buffers=True),
)  # fmt: skip
