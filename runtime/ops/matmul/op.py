"""Matrix products: MatMul with NumPy's batching, Gemm with ONNX's scaling and transposition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.traits import BIAS, WEIGHT, Linear, Operand, always, broadcast

NUMBERS = (*checks.FLOATS, "int32", "uint32", "int64", "uint64")


@frozen
class GemmAttrs:
    """Y = alpha * A' B' + beta * C, where ' transposes if transA / transB is 1."""

    alpha: float = 1.0
    beta: float = 1.0
    transA: int = 0
    transB: int = 0


def infer_matmul(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """(..., M, N), batches broadcast as NumPy does."""
    a, b = checks.given(specs, 0, "A"), checks.given(specs, 1, "B")
    checks.one_of("the input", a, NUMBERS)
    checks.same_dtype(a, B=b)
    if not a.dims or not b.dims:
        raise ShapeError(f"expected vectors or matrices, got {checks.show(a.dims)} @ {checks.show(b.dims)}; use Mul")
    rows = a.dims if len(a.dims) > 1 else (1, *a.dims)
    cols = b.dims if len(b.dims) > 1 else (*b.dims, 1)
    try:
        batch = np.broadcast_shapes(rows[:-2], cols[:-2])
    except ValueError:
        batch = None
    if batch is None or rows[-1] != cols[-2]:
        raise ShapeError(
            f"expected (..., M, K) @ (..., K, N), got {checks.show(a.dims)} @ {checks.show(b.dims)}; "
            "transpose or reshape one"
        )
    m = rows[-2:-1] if len(a.dims) > 1 else ()
    n = cols[-1:] if len(b.dims) > 1 else ()
    return (checks.tensor((*batch, *m, *n), a.dtype),)


def matmul(attrs: NoAttrs, a: Array, b: Array) -> tuple[Array]:
    """Multiply matrices, batched and broadcast as NumPy does; a vector is a row on the left, a column on the right.

    a      : (..., M, K)
    b      : (..., K, N)
    return : (..., M, N)
    source : ONNX MatMul-13
    """
    if a.dtype == np.float16:
        return (np.asarray(np.matmul(a, b, dtype=np.float32)).astype(a.dtype),)
    return (np.asarray(np.matmul(a, b)),)


def _infer_gemm(attrs: GemmAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    a, b, c = checks.given(specs, 0, "A"), checks.given(specs, 1, "B"), checks.optional(specs, 2)
    checks.one_of("the input", a, NUMBERS)
    checks.same_dtype(a, B=b, C=c)
    if len(a.dims) != 2 or len(b.dims) != 2:
        raise ShapeError(
            f"expected two matrices, got {checks.show(a.dims)} and {checks.show(b.dims)}; put a Flatten before it"
        )
    m, k = a.dims[::-1] if attrs.transA else a.dims
    k_b, n = b.dims[::-1] if attrs.transB else b.dims
    if k != k_b:
        raise ShapeError(
            f"expected {k} rows in B as A has columns, got {k_b} (A {checks.show(a.dims)} transA={attrs.transA}, "
            f"B {checks.show(b.dims)} transB={attrs.transB}); check the input's size"
        )
    if c is not None:
        fits = len(c.dims) <= 2 and all(have in (1, want) for have, want in zip(c.dims[::-1], (n, m), strict=False))
        if not fits:
            raise ShapeError(f"expected C to broadcast to ({m}, {n}), got {checks.show(c.dims)}; check the model")
    return (checks.tensor((m, n), a.dtype),)


def gemm(attrs: GemmAttrs, a: Array, b: Array, c: Array | None = None) -> tuple[Array]:
    """Multiply two matrices, scale, and add.

    a      : (M, K), or (K, M) with transA
    b      : (K, N), or (N, K) with transB
    c      : broadcast to (M, N), or None
    return : (M, N)
    source : ONNX Gemm-13
    """
    left = a.T if attrs.transA else a
    right = b.T if attrs.transB else b
    (y,) = matmul(NoAttrs(), left, right)
    if attrs.alpha != 1:
        y = y * attrs.alpha
    if c is not None:
        y = y + (c if attrs.beta == 1 else c * attrs.beta)
    return (y.astype(a.dtype, copy=False),)


def _macs(attrs: NoAttrs | GemmAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    a = checks.given(specs, 0, "A")
    k = a.dims[0] if isinstance(attrs, GemmAttrs) and attrs.transA else a.dims[-1]
    return outputs[0].size * k


register(
    Op(
        "MatMul", infer_matmul, matmul, n_inputs=(2, 2), macs=_macs, hosts=True, rank=broadcast, linear=Linear(1),
        operands={0: Operand(WEIGHT, outputs=0), 1: Operand(WEIGHT, outputs=-1, inputs=-2)},
    ),
    Op(
        "Gemm", _infer_gemm, gemm, GemmAttrs, n_inputs=(2, 3), macs=_macs, hosts=True, rank=always(2),
        operands={
            0: Operand(WEIGHT),
            1: Operand(
                WEIGHT, outputs=lambda attrs: 1 - attrs.transB, inputs=lambda attrs: None if attrs.transA else attrs.transB
            ),
            2: Operand(BIAS),
        },
        linear=Linear(1, 2, gain="alpha", bias_gain="beta"),
    ),
)  # fmt: skip
