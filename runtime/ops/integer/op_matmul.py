"""Matrix products of 8-bit codes, summed exactly in int32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.integer.op import CODES
from alula.runtime.ops.matmul.op import infer_matmul
from alula.runtime.ops.traits import broadcast


def zero_dims(spec: TensorSpec, axis: int, rank: int) -> tuple[int, ...]:
    """The dimensions in which a zero point broadcasts to its matrix: a list of several holds one a row (axis -2) or a column."""
    if len(spec.dims) != 1:
        return spec.dims
    return (*spec.dims, 1) if axis == -2 and rank > 1 and spec.size > 1 else spec.dims


def _check_zero(name: str, spec: TensorSpec | None, matrix: TensorSpec, axis: int) -> None:
    """raise : DTypeError or ShapeError unless it is absent, one value, or one for each slice of the axis"""
    if spec is None:
        return
    checks.one_of(name, spec, (matrix.dtype,))
    dims, rank = zero_dims(spec, axis, len(matrix.dims)), len(matrix.dims)
    other = -1 if axis == -2 else -2
    fits = len(dims) <= rank and all(
        have in (1, want) for have, want in zip(dims[::-1], matrix.dims[::-1], strict=False)
    )
    if spec.size != 1 and not (fits and (len(dims) < 2 or dims[other] == 1)):
        what = "row" if axis == -2 else "column"
        raise ShapeError(
            f"expected {name} to be a scalar or one value a {what} of {matrix}, got {checks.show(spec.dims)}; check the model"
        )


def _infer(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    a, b = checks.given(specs, 0, "A", dtypes=CODES), checks.given(specs, 1, "B", dtypes=CODES)
    (product,) = infer_matmul(attrs, [TensorSpec(a.shape), TensorSpec(b.shape)], [None, None])
    _check_zero("a_zero_point", checks.optional(specs, 2), a, -2)
    _check_zero("b_zero_point", checks.optional(specs, 3), b, -1)
    return (checks.tensor(product.dims, "int32"),)


def _shifted(codes: Array, zero: Array | None, axis: int) -> Array:
    real = codes.astype(np.float64)
    return (
        real
        if zero is None
        else real - zero.reshape(zero_dims(TensorSpec.of(zero), axis, codes.ndim) if zero.size > 1 else ())
    )


def matmul_integer(
    attrs: NoAttrs, a: Array, b: Array, a_zero: Array | None = None, b_zero: Array | None = None
) -> tuple[Array]:
    """Multiply matrices of codes, less their zero points.

    a, b   : (..., M, K) and (..., K, N), int8 or uint8, broadcast as MatMul does
    a_zero : a scalar, or one value a row: (M,) or (..., M, 1)
    b_zero : a scalar, or one value a column: (N,) or (..., 1, N)
    return : (..., M, N), int32, which wraps
    source : ONNX MatMulInteger-10; float64 holds every sum exactly
    """
    sums = np.matmul(_shifted(a, a_zero, -2), _shifted(b, b_zero, -1))
    return (np.asarray(sums).astype(np.int64).astype(np.int32),)


def _macs(attrs: NoAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    return outputs[0].size * checks.given(specs, 0, "A").dims[-1]


register(Op("MatMulInteger", _infer, matmul_integer, n_inputs=(2, 4), macs=_macs, rank=broadcast))
