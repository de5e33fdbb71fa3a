"""Trigonometry, tests for NaN and infinities, and bits, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime import ops
from alula.runtime.errors import DTypeError
from alula.runtime.graph import TensorSpec
from tests.runtime.ops.onnx_oracle import check, evaluate, sample

RANGES = {
    "Sin": (-9, 9), "Cos": (-9, 9), "Tan": (-1.4, 1.4), "Asin": (-1, 1), "Acos": (-1, 1), "Atan": (-9, 9), "Sinh": (-5, 5),
    "Cosh": (-5, 5), "Asinh": (-9, 9), "Acosh": (1, 9), "Atanh": (-0.99, 0.99),
}  # fmt: skip


@pytest.mark.parametrize("op", RANGES)
def test_trigonometric_functions_agree_with_onnxruntime(op: str) -> None:
    x = np.linspace(*RANGES[op], 60).reshape(3, 4, 5)
    check(op, {}, x.astype(np.float32), tolerance=5e-6)
    check(op, {}, x[:0].astype(np.float32))
    (y,) = evaluate(op, {}, [x.astype(np.float16)])
    np.testing.assert_allclose(y, evaluate(op, {}, [x.astype(np.float16).astype(np.float64)])[0], rtol=2e-3, atol=1e-3)


def test_outside_of_its_range_a_function_is_nan() -> None:
    for op in ("Asin", "Acos", "Atanh"):
        assert np.isnan(evaluate(op, {}, [np.float32([1.5, -2])])[0]).all()
    assert np.isnan(evaluate("Acosh", {}, [np.float32([0.5])])[0]).all()


def test_nan_and_infinities_are_found() -> None:
    x = np.float32([[1, np.nan, np.inf], [-np.inf, 0, 2]])
    for dtype in ("float32", "float64"):
        check("IsNaN", {}, x.astype(dtype))
        for negative, positive in ((0, 0), (0, 1), (1, 0), (1, 1)):
            check("IsInf", {"detect_negative": negative, "detect_positive": positive}, x.astype(dtype))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint32", "int64"])
def test_bits_agree_with_onnxruntime(dtype: str) -> None:
    rng = np.random.default_rng(1)
    x, y = sample(rng, (3, 4), dtype), sample(rng, (4,), dtype)
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        check(op, {}, x, y)
    check("BitwiseNot", {}, x)
    if dtype[0] == "u":
        for direction in ("LEFT", "RIGHT"):
            check("BitShift", {"direction": direction}, x, y % 7)


def test_a_shift_by_the_width_or_a_negative_one_leaves_the_sign() -> None:
    x, by = np.array([-8, 4, -8, 4, -1], np.int8), np.array([8, 9, -1, -1, 1], np.int8)
    assert evaluate("BitShift", {"direction": "RIGHT"}, [x, by])[0].tolist() == [-1, 0, -1, 0, -1]
    assert evaluate("BitShift", {"direction": "LEFT"}, [x, by])[0].tolist() == [0, 0, 0, 0, -2]
    found = ops.find("BitShift", "test")
    with pytest.raises(DTypeError, match="cast it first"):
        found.infer(found.make_attrs({"direction": "LEFT"}, ""), [TensorSpec((2,)), TensorSpec((2,))], [None, None])
