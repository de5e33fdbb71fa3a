"""MatMul and Gemm against onnxruntime, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import DTypeError, ShapeError
from tests.runtime.ops.oracle import close, inferred, onnxruntime_node, ours

PRODUCTS = [
    ((3, 5), (5, 4)),
    ((5,), (5, 4)),
    ((3, 5), (5,)),
    ((5,), (5,)),
    ((2, 3, 5), (5, 4)),
    ((7, 1, 3, 5), (2, 5, 4)),
    ((2, 0, 5), (5, 4)),
]


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_matmul_is_onnxruntimes(shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: str) -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.uniform(-9, 9, shape).astype(dtype) for shape in shapes)
    (got,) = ours("MatMul", [a, b], {})
    (wanted,) = onnxruntime_node("MatMul", [a, b], {})
    assert got.shape == wanted.shape
    close(got, wanted, a.shape[-1])


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("c_shape", [None, (), (4,), (3, 1), (1, 4), (3, 4)], ids=str)
def test_gemm_is_onnxruntimes(trans_a: int, trans_b: int, c_shape: tuple[int, ...] | None) -> None:
    rng = np.random.default_rng(4)
    a = rng.standard_normal((5, 3) if trans_a else (3, 5), np.float32)
    b = rng.standard_normal((4, 5) if trans_b else (5, 4), np.float32)
    c = None if c_shape is None else np.asarray(rng.standard_normal(c_shape, np.float32))
    attrs = {"transA": trans_a, "transB": trans_b, "alpha": 0.5, "beta": -1.5}
    inputs = [a, b, c] if c is not None else [a, b]
    close(ours("Gemm", inputs, attrs)[0], onnxruntime_node("Gemm", inputs, attrs)[0], 5)


def test_wrong_matrices_are_refused() -> None:
    a = np.zeros((3, 5), np.float32)
    with pytest.raises(
        ShapeError, match=r"stem \(MatMul\): expected \(..., M, K\) @ \(..., K, N\), got \(3, 5\) @ \(4, 5\)"
    ):
        inferred("MatMul", [a, np.zeros((4, 5), np.float32)], {})
    with pytest.raises(ShapeError, match=r"got \(2, 3, 5\) @ \(3, 5, 4\)"):
        inferred("MatMul", [np.zeros((2, 3, 5), np.float32), np.zeros((3, 5, 4), np.float32)], {})
    with pytest.raises(ShapeError, match="use Mul"):
        inferred("MatMul", [np.float32(1).reshape(()), a], {})
    with pytest.raises(ShapeError, match="expected 3 rows in B as A has columns, got 5"):
        inferred("Gemm", [a, np.zeros((5, 4), np.float32)], {"transA": 1})
    with pytest.raises(ShapeError, match="put a Flatten before it"):
        inferred("Gemm", [np.zeros((1, 3, 5), np.float32), a], {})
    with pytest.raises(ShapeError, match=r"expected C to broadcast to \(3, 4\), got \(3,\)"):
        inferred("Gemm", [a, np.zeros((5, 4), np.float32), np.zeros(3, np.float32)], {})
    with pytest.raises(DTypeError, match="expected B to be float32"):
        inferred("Gemm", [a, np.zeros((5, 4))], {})
