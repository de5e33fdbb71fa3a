"""Gradients of Gather and Slice: values go back to where they were read, the rest is zero."""

from __future__ import annotations

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.movement.op import slices


@frozen
class GatherGradAttrs:
    """Gather's axis, and the shape of its input."""

    shape: tuple[int, ...]
    axis: int = 0


@frozen
class SliceGradAttrs:
    """The shape of Slice's input."""

    shape: tuple[int, ...]


def _infer(attrs: GatherGradAttrs | SliceGradAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    return (TensorSpec(attrs.shape, checks.given(specs, 0, "dY").dtype),)


def gather_grad(attrs: GatherGradAttrs, grad_y: Array, indices: Array) -> tuple[Array]:
    """Sum the gradients of all copies of an element.

    grad_y      : shape of Gather's result
    indices : int32 or int64
    return  : attrs.shape
    """
    grad_x = np.zeros(attrs.shape, grad_y.dtype)
    axis, rank = attrs.axis % len(attrs.shape), indices.ndim
    moved = np.moveaxis(grad_y, range(axis, axis + rank), range(rank)).reshape(
        indices.size, *attrs.shape[:axis], *attrs.shape[axis + 1 :]
    )
    np.add.at(np.moveaxis(grad_x, axis, 0), indices.reshape(-1), moved)
    return (grad_x,)


def slice_grad(
    attrs: SliceGradAttrs,
    grad_y: Array,
    starts: Array,
    ends: Array,
    axes: Array | None = None,
    steps: Array | None = None,
) -> tuple[Array]:
    """The gradient where the slice was cut, zero elsewhere; inputs as Slice's."""
    rest = [None if v is None else checks.integers(v) for v in (axes, steps)]
    grad_x = np.zeros(attrs.shape, grad_y.dtype)
    grad_x[slices(attrs.shape, checks.integers(starts), checks.integers(ends), *rest)] = grad_y
    return (grad_x,)


register(
    Op("GatherGrad", _infer, gather_grad, GatherGradAttrs, n_inputs=(2, 2)),
    Op("SliceGrad", _infer, slice_grad, SliceGradAttrs, n_inputs=(3, 5), static_inputs=(1, 2, 3, 4)),
)
