"""Convolutions of codes against onnxruntime, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime import ops
from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import Array, TensorSpec
from tests.runtime.ops.onnx_oracle import evaluate, onnx_outputs


def codes(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """The whole range."""
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def first(x: Array) -> Array:
    """Channels first."""
    return np.moveaxis(x, -1, 1)


GEOMETRY: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 7, 9, 3), (5, 3, 2, 3), {"pads": (1, 0, 2, 1), "strides": (2, 1)}),
    ((1, 8, 6, 4), (6, 3, 3, 2), {"group": 2, "dilations": (2, 1)}),
    ((1, 8, 6, 4), (3, 1, 1, 4), {}),
    ((2, 15, 3), (4, 3, 3), {"pads": (1, 1)}),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "attrs"), GEOMETRY)
@pytest.mark.parametrize(("dtype", "of"), [("uint8", "int8"), ("uint8", "uint8")])  # what onnxruntime takes
def test_sums_agree_with_onnxruntime(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], attrs: dict[str, Any], dtype: str, of: str
) -> None:
    rng = np.random.default_rng(1)
    x, weight = codes(rng, x_shape, dtype), codes(rng, w_shape, of)
    zeros = [np.array(130, dtype), np.array(0 if of == "int8" else 7, of)]
    (ours,) = evaluate("ConvInteger", attrs, [x, weight, *zeros])
    (theirs,) = onnx_outputs("ConvInteger", attrs, [first(x), first(weight), *zeros], 1)
    np.testing.assert_array_equal(first(ours), theirs)


@pytest.mark.parametrize(("x_shape", "w_shape", "attrs"), GEOMETRY)
@pytest.mark.parametrize(("dtype", "of"), [("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8")])
def test_codes_agree_with_onnxruntime_but_for_ties_it_rounds_otherwise(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], attrs: dict[str, Any], dtype: str, of: str
) -> None:
    rng = np.random.default_rng(2)
    x, weight, c_out = codes(rng, x_shape, dtype), codes(rng, w_shape, of), w_shape[0]
    if (dtype, of) == ("uint8", "int8"):
        weight //= (
            2  # onnxruntime adds two products in 16 bits on AVX2 without VNNI, and these saturate with 8-bit weights
        )
    w_scale = rng.uniform(0.001, 0.01, c_out if of == "int8" else ()).astype(np.float32)
    bias = rng.integers(-2000, 2000, c_out).astype(np.int32)
    scales = (np.array(0.5, np.float32), np.array(0.7, np.float32))
    w_zero = np.zeros(w_scale.shape, of) if of == "int8" else np.array(9, of)
    head, tail = [scales[0], np.array(3, dtype)], [w_scale, w_zero, scales[1], np.array(11, dtype), bias]
    (ours,) = evaluate("QLinearConv", attrs, [x, *head, weight, *tail])
    (theirs,) = onnx_outputs("QLinearConv", attrs, [first(x), *head, first(weight), *tail], 1)
    np.testing.assert_array_equal(first(ours), theirs)


def test_a_half_goes_to_the_even_neighbour_and_the_rest_saturates() -> None:
    x = np.array([1, 3, 5, -3, 127, -128], np.int8).reshape(1, 6, 1, 1)
    one, zero = np.array(1, np.float32), np.array(0, np.int8)
    weight = np.array([[[[1]]]], np.int8)
    (y,) = evaluate("QLinearConv", {}, [x, one, zero, weight, one, zero, np.array(2, np.float32), zero])
    assert y.reshape(-1).tolist() == [0, 2, 2, -2, 64, -64]
    (y,) = evaluate("QLinearConv", {}, [x, one, zero, weight, one, zero, np.array(0.5, np.float32), zero])
    assert y.reshape(-1).tolist() == [2, 6, 10, -6, 127, -128]


def infer(op: str, *specs: TensorSpec | None) -> None:
    found = ops.find(op, "t")
    found.infer(found.make_attrs({}, "t"), list(specs), [None] * len(specs))


def test_what_does_not_fit_is_refused() -> None:
    x, weight = TensorSpec((1, 8, 8, 3), "int8"), TensorSpec((4, 3, 3, 3), "int8")
    one, zero = TensorSpec(()), TensorSpec((), "int8")
    with pytest.raises(ShapeError, match="takes 3 channels"):
        infer("ConvInteger", TensorSpec((1, 8, 8, 5), "int8"), weight)
    with pytest.raises(DTypeError, match="int8 or uint8, got float32"):
        infer("ConvInteger", TensorSpec((1, 8, 8, 3)), weight)
    with pytest.raises(DTypeError, match="expected x_zero_point to be int8, got uint8"):
        infer("ConvInteger", x, weight, TensorSpec((), "uint8"))
    with pytest.raises(ShapeError, match=r"expected w_zero_point to be \(4,\), one value per output channel"):
        infer("ConvInteger", x, weight, zero, TensorSpec((3,), "int8"))
    with pytest.raises(ShapeError, match="expected x_scale to be a scalar"):
        infer("QLinearConv", x, TensorSpec((2,)), zero, weight, one, zero, one, zero)
    with pytest.raises(ShapeError, match=r"expected a bias \(4,\)"):
        infer("QLinearConv", x, one, zero, weight, one, zero, one, zero, TensorSpec((3,), "int32"))


@pytest.mark.parametrize(
    ("a_shape", "b_shape", "a_zero", "b_zero"),
    [
        ((3, 5), (5, 4), (), ()),
        ((2, 3, 5), (5, 4), (1,), (4,)),
        ((2, 1, 3, 5), (2, 5, 4), None, None),
        ((3, 5), (5, 4), (), None),
    ],
)
@pytest.mark.parametrize("of", ["int8", "uint8"])
def test_products_of_codes_agree_with_onnxruntime(
    a_shape: tuple[int, ...],
    b_shape: tuple[int, ...],
    a_zero: tuple[int, ...] | None,
    b_zero: tuple[int, ...] | None,
    of: str,
) -> None:
    rng = np.random.default_rng(4)
    a, b = codes(rng, a_shape, "uint8"), codes(rng, b_shape, of)
    if of == "int8":
        b //= 2  # as above
    inputs = [a, b, *(None if s is None else codes(rng, s, kind) // 2 for s, kind in ((a_zero, "uint8"), (b_zero, of)))]
    (ours,), (theirs,) = evaluate("MatMulInteger", {}, inputs), onnx_outputs("MatMulInteger", {}, inputs, 1)
    np.testing.assert_array_equal(ours, theirs)


def test_zero_points_of_rows_and_columns_are_refused_where_they_do_not_fit() -> None:
    a, b = TensorSpec((3, 5), "uint8"), TensorSpec((5, 4), "int8")
    infer("MatMulInteger", a, b, TensorSpec((3,), "uint8"), TensorSpec((1, 4), "int8"))
    with pytest.raises(ShapeError, match="expected b_zero_point to be a scalar or one value a column"):
        infer("MatMulInteger", a, b, TensorSpec((), "uint8"), TensorSpec((3,), "int8"))
    with pytest.raises(ShapeError, match="expected a_zero_point to be a scalar or one value a row"):
        infer("MatMulInteger", a, b, TensorSpec((1, 5), "uint8"))
    with pytest.raises(DTypeError, match="expected a_zero_point to be uint8"):
        infer("MatMulInteger", a, b, TensorSpec((), "int8"))
