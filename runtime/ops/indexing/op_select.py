"""Choosing elements: the largest ones, those under a mask, sequences reversed, and one-hot codes."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import (
    BOOL,
    INDICES,
    NUMBERS,
    axis_of,
    choice,
    given,
    known_integers,
    optional,
    show,
    tensor,
    vector,
)
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import first


@frozen
class TopKAttrs:
    """largest : 0 takes the smallest instead. sorted : 0 leaves the order open; ours is always sorted"""

    axis: int = -1
    largest: int = 1
    sorted: int = 1


@frozen
class OneHotAttrs:
    """axis : of the result, along which the codes lie"""

    axis: int = -1


@frozen
class CompressAttrs:
    """axis : along which the condition counts; None: of the flattened tensor"""

    axis: int | None = None


@frozen
class ReverseSequenceAttrs:
    """The axes of the batch and of time: 0 and 1, in any order."""

    batch_axis: int = 1
    time_axis: int = 0


def infer_top_k(attrs: TopKAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Values and int64 indices: K along the axis."""
    x = given(specs, 0, dtypes=NUMBERS)
    choice(attrs.largest, (0, 1), "largest")
    axis, k = axis_of(attrs.axis, len(x.dims)), known_integers(values, 1, "K")
    if len(k) != 1 or not 0 <= k[0] <= x.dims[axis]:
        raise ShapeError(f"expected K from 0 to {x.dims[axis]}, the size of axis {axis}, got {show(k)}; correct K")
    shape = (*x.dims[:axis], k[0], *x.dims[axis + 1 :])
    return tensor(shape, x.dtype), tensor(shape, "int64")


def top_k(attrs: TopKAttrs, x: Array, k: Array) -> tuple[Array, ...]:
    """The K largest (or smallest) along an axis, the best first; of equal ones the first. NaN is the largest."""
    lines, count = np.moveaxis(x, attrs.axis, -1), int(k.reshape(()))
    if attrs.largest:  # a stable sort of the reversed line, reversed: the first of equal elements stays first
        order = lines.shape[-1] - 1 - np.argsort(lines[..., ::-1], axis=-1, kind="stable")[..., ::-1][..., :count]
    else:
        order = np.argsort(lines, axis=-1, kind="stable")[..., :count]
    best = np.take_along_axis(lines, order, -1)
    return tuple(np.ascontiguousarray(np.moveaxis(part, -1, attrs.axis)) for part in (best, order.astype(np.int64)))


def infer_one_hot(attrs: OneHotAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The shape of the indices, with the depth put in at the axis."""
    indices, pair = given(specs, 0, "indices", NUMBERS), given(specs, 2, "values")
    given(specs, 1, "depth", NUMBERS)
    depth = optional(values, 1)
    if depth is None or depth.size != 1 or depth.reshape(()) < 0:
        got = "a computed one" if depth is None else str(depth.tolist())
        raise ShapeError(
            f"expected a scalar depth that is known when the program is planned, got {got}; fix it at export"
        )
    vector("values", pair, 2, "off and on")
    axis = axis_of(attrs.axis, len(indices.dims) + 1)
    return (tensor((*indices.dims[:axis], int(depth.reshape(())), *indices.dims[axis:]), pair.dtype),)


def one_hot(attrs: OneHotAttrs, indices: Array, depth: Array, values: Array) -> tuple[Array, ...]:
    """`on` where the index says (from the end if it is negative), `off` elsewhere, and everywhere if it is out of range."""
    count = int(depth.reshape(()))
    axis = attrs.axis % (indices.ndim + 1)
    codes = np.arange(count).reshape(count, *(1,) * (indices.ndim - axis))
    chosen = np.where(indices < 0, indices + count, indices)
    return (np.where(np.expand_dims(chosen, axis) == codes, values[1], values[0]).astype(values.dtype),)


def kept(condition: Array) -> Array:
    """Where a condition holds: int64 positions."""
    return np.flatnonzero(condition)


def infer_compress(attrs: CompressAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """As many as the condition keeps; none where it is computed."""
    x, condition = given(specs, 0), given(specs, 1, "condition", BOOL)
    known = optional(values, 1)
    dims = x.dims if attrs.axis is not None else (x.size,)
    axis = 0 if attrs.axis is None else axis_of(attrs.axis, len(dims))
    if len(condition.dims) != 1 or condition.size > dims[axis]:
        raise ShapeError(f"expected a list of at most {dims[axis]} conditions, got {condition}; check the model")
    return (tensor((*dims[:axis], 0 if known is None else kept(known).size, *dims[axis + 1 :]), x.dtype),)


def compress(attrs: CompressAttrs, x: Array, condition: Array) -> tuple[Array, ...]:
    """What the condition keeps, along an axis or of all elements."""
    return (np.take(x, kept(condition), attrs.axis),)


def infer_reverse_sequence(attrs: ReverseSequenceAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's spec."""
    x, lengths = given(specs, 0), given(specs, 1, "sequence_lens", INDICES)
    if {attrs.batch_axis, attrs.time_axis} != {0, 1} or len(x.dims) < 2:
        raise ShapeError(
            f"expected batch_axis and time_axis to be 0 and 1 of {x}, got {attrs.batch_axis} and {attrs.time_axis}; "
            "transpose the input"
        )
    vector("sequence_lens", lengths, x.dims[attrs.batch_axis], "one for each of the batch")
    return (x,)


def reverse_sequence(attrs: ReverseSequenceAttrs, x: Array, lengths: Array) -> tuple[Array, ...]:
    """The first `length` steps of each sequence backwards, the rest as it is. A length is clamped to the steps there are."""
    steps = x.shape[attrs.time_axis]
    time, ends = np.arange(steps), np.clip(lengths, 0, steps)[:, None]
    source = np.where(time < ends, ends - 1 - time, time)  # (BATCH, TIME)
    batch = np.arange(len(source))[:, None]
    found = x[batch, source] if attrs.batch_axis == 0 else x[source.T, batch.T]
    return (found,)


register(
    Op("TopK", infer_top_k, top_k, TopKAttrs, n_inputs=(2, 2), static_inputs=(1,), rank=first),
    Op(
        "OneHot", infer_one_hot, one_hot, OneHotAttrs, n_inputs=(3, 3), static_inputs=(1,),
        rank=lambda attrs, ranks, lengths: None if not ranks or ranks[0] is None else ranks[0] + 1,
    ),
    Op(
        "Compress", infer_compress, compress, CompressAttrs, n_inputs=(2, 2), static_inputs=(1,), data_sized=True,
        rank=lambda attrs, ranks, lengths: 1 if "axis" not in attrs else ranks[0],
    ),
    Op("ReverseSequence", infer_reverse_sequence, reverse_sequence, ReverseSequenceAttrs, n_inputs=(2, 2), rank=first),
)  # fmt: skip
