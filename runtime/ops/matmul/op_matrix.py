"""Of the last two axes as matrices: triangles, the identity, determinants."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import FLOATS, given, optional_integers, tensor
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.traits import always, first


@frozen
class TriluAttrs:
    """upper : 1 keeps what is on and above the diagonal, 0 what is on and below it"""

    upper: int = 1


@frozen
class EyeLikeAttrs:
    """dtype : of the result, None for the input's. k : the diagonal, above the main one if positive"""

    dtype: str | None = None
    k: int = 0


def infer_trilu(attrs: TriluAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's spec."""
    x, k = given(specs, 0), optional_integers(specs, values, 1, "k")
    if len(x.dims) < 2:
        raise ShapeError(f"expected matrices (..., M, N), got {x}; reshape them")
    if k is not None and len(k) != 1:
        raise ShapeError(f"expected a scalar k, got {k}; correct the model")
    return (x,)


def trilu(attrs: TriluAttrs, x: Array, k: Array | None = None) -> tuple[Array, ...]:
    """A triangle of each matrix (..., M, N), the rest zero; k moves its edge to a diagonal above the main one."""
    rows, columns = x.shape[-2:]
    edge = 0 if k is None else max(-rows - 1, min(int(k.reshape(())), columns + 1))
    return (np.asarray(np.triu(x, edge) if attrs.upper else np.tril(x, edge)).astype(x.dtype),)


def infer_eye_like(attrs: EyeLikeAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's shape, which must be a matrix's."""
    x = given(specs, 0)
    if len(x.dims) != 2:
        raise ShapeError(f"expected a matrix (M, N), got {x}; reshape it")
    return (tensor(x.dims, attrs.dtype or x.dtype),)


def eye_like(attrs: EyeLikeAttrs, x: Array) -> tuple[Array, ...]:
    """Ones on a diagonal; reads nothing of x but its shape."""
    rows, columns = x.shape
    return (np.eye(rows, columns, max(-rows, min(attrs.k, columns)), dtype=attrs.dtype or x.dtype),)


def infer_det(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """One number for each matrix."""
    x = given(specs, 0, dtypes=FLOATS)
    if len(x.dims) < 2 or x.dims[-1] != x.dims[-2]:
        raise ShapeError(f"expected square matrices (..., M, M), got {x}; check the model")
    return (tensor(x.dims[:-2], x.dtype),)


def det(attrs: NoAttrs, x: Array) -> tuple[Array, ...]:
    """The determinant of each matrix, (..., M, M) to (...), by LU decomposition in float64."""
    return (np.asarray(np.linalg.det(x.astype(np.float64))).astype(x.dtype),)


register(
    Op("Trilu", infer_trilu, trilu, TriluAttrs, n_inputs=(1, 2), static_inputs=(1,), rank=first),
    Op("EyeLike", infer_eye_like, eye_like, EyeLikeAttrs, rank=always(2)),
    Op("Det", infer_det, det, rank=lambda attrs, ranks, lengths: None if ranks[0] is None else ranks[0] - 2),
)
