"""Affine quantisation against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime import ops
from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import TensorSpec
from tests.runtime.ops.onnx_oracle import check, evaluate, sample

CODES = ["uint8", "int8", "uint16", "int16"]


def zero_point(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Any:
    return rng.integers(0 if dtype[0] == "u" else -20, 20, shape).astype(dtype)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_both_agree_with_onnxruntime_per_tensor_and_per_axis(dtype: str, axis: int | None) -> None:
    rng = np.random.default_rng(1)
    x = sample(rng, (4, 17, 5)) * 30
    shape = () if axis is None else (x.shape[axis],)
    scale = rng.uniform(0.1, 0.5, shape).astype(np.float32)
    zero = zero_point(rng, dtype, shape)
    attrs = {} if axis is None else {"axis": axis}
    check("QuantizeLinear", attrs, x, scale, zero)
    (codes,) = evaluate("QuantizeLinear", attrs, [x, scale, zero])
    check("DequantizeLinear", attrs, codes, scale, zero)
    check("DequantizeLinear", attrs, codes, scale)


@pytest.mark.parametrize("block", [1, 4, 5, 16])
def test_both_agree_with_onnxruntime_per_block_even_with_a_short_last_one(block: int) -> None:
    rng = np.random.default_rng(2)
    x = sample(rng, (2, 17, 3)) * 30
    shape = (2, -(-17 // block), 3)
    scale, zero = rng.uniform(0.1, 0.5, shape).astype(np.float32), zero_point(rng, "int8", shape)
    attrs = {"axis": 1, "block_size": block}
    (codes,) = evaluate("QuantizeLinear", attrs, [x, scale, zero])
    wide_scale, wide_zero = (np.repeat(v, block, 1)[:, :17] for v in (scale, zero))
    assert np.array_equal(codes, np.clip(np.rint(x / wide_scale) + wide_zero, -128, 127))
    (real,) = evaluate("DequantizeLinear", attrs, [codes, scale, zero])
    np.testing.assert_allclose(real, (codes - wide_zero.astype(np.float32)) * wide_scale, rtol=1e-6)


def test_the_dtype_of_the_codes_is_asked_for_or_uint8() -> None:
    x, scale = np.array([-1.0, 1e9, 2.5, 3.5], np.float32), np.array(1, np.float32)
    check("QuantizeLinear", {}, x, scale)
    check("QuantizeLinear", {"output_dtype": "int16"}, x, scale)
    assert evaluate("QuantizeLinear", {}, [x, scale])[0].tolist() == [0, 255, 2, 4]


def test_quantising_nan_and_infinity_stays_in_range() -> None:
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    codes = evaluate("QuantizeLinear", {}, [x, np.array(0.5, np.float32), np.array(3, np.int8)])[0]
    assert codes.tolist() == [3, 127, -128]


def test_wide_accumulators_can_be_dequantised() -> None:
    x = np.array([2**30 + 1, -(2**30)], np.int32)
    check("DequantizeLinear", {}, x, np.array(0.001, np.float32))


@pytest.mark.parametrize(
    ("scale", "attrs", "message"),
    [
        ((3,), {"axis": 1}, r"expected a scale of shape \(4,\), got \(3,\)"),
        ((4,), {"axis": 2}, "got 2"),
        ((2, 4), {"axis": 1, "block_size": 2}, r"expected a scale of shape \(2, 2\)"),
        ((2, 2), {"axis": 1, "block_size": -1}, "block_size"),
    ],
)
def test_scales_that_do_not_fit_are_refused(scale: tuple[int, ...], attrs: dict[str, Any], message: str) -> None:
    for op, dtype in (("QuantizeLinear", "float32"), ("DequantizeLinear", "int8")):
        found = ops.find(op, "t")
        with pytest.raises(ShapeError, match=message):
            found.infer(found.make_attrs(attrs, "t"), [TensorSpec((2, 4), dtype), TensorSpec(scale)], [None, None])


def test_zero_points_of_another_dtype_or_shape_are_refused() -> None:
    found = ops.find("DequantizeLinear", "t")
    x, scale = TensorSpec((2, 4), "int8"), TensorSpec((4,))
    with pytest.raises(DTypeError, match="expected zero_point to be int8"):
        found.infer(found.make_attrs({}, "t"), [x, scale, TensorSpec((4,), "uint8")], [None] * 3)
    with pytest.raises(ShapeError, match="expected zero_point of the scale's shape"):
        found.infer(found.make_attrs({}, "t"), [x, scale, TensorSpec((), "int8")], [None] * 3)
