"""Reshaping and shapes as tensors against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime import ops
from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import Array, TensorSpec
from tests.runtime.ops.onnx_oracle import check, evaluate, sample


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


def refusal(op: str, attrs: dict[str, Any], x: TensorSpec, *lists: Array | None) -> str:
    """The message with which `infer` refuses an input followed by known values."""
    found = ops.find(op, "t")
    specs = [x, *(None if v is None else TensorSpec.of(v) for v in lists)]
    with pytest.raises((ShapeError, DTypeError)) as caught:
        found.infer(found.make_attrs(attrs, "t"), specs, [None, *lists])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("target", [(24,), (2, -1), (0, -1), (0, 0, 4), (-1, 1, 3, 2), (4, 3, 2)], ids=str)
def test_reshape_agrees_with_onnxruntime(target: tuple[int, ...]) -> None:
    check("Reshape", {}, sample(np.random.default_rng(1), (2, 3, 4)), i64(*target))


def test_reshape_of_scalars_and_of_nothing() -> None:
    check("Reshape", {}, sample(np.random.default_rng(2), (1, 1)), i64())
    check("Reshape", {}, sample(np.random.default_rng(2), ()), i64(1, -1))
    check("Reshape", {"allowzero": 1}, np.zeros((2, 0, 3), np.float32), i64(3, 0))
    check("Reshape", {}, np.zeros((0, 3), np.float32), i64(0, 1, 3))


@pytest.mark.parametrize(
    ("attrs", "target", "message"),
    [
        ({}, (5,), r"expected a shape of 6 elements, got (5,) for (2, 3)"),
        ({}, (4, -1), "no size fits the -1"),
        ({}, (-1, -1), "at most one of them -1"),
        ({}, (-2, 3), "expected sizes"),
        ({}, (2, 3, 0), "expected each 0"),
        ({"allowzero": 1}, (0, -1), "ambiguous"),
        ({}, (1,) * 8 + (6,), "at most 8 dimensions"),
    ],
)
def test_reshape_refuses_shapes_of_another_size(attrs: dict[str, int], target: tuple[int, ...], message: str) -> None:
    assert message in refusal("Reshape", attrs, TensorSpec((2, 3)), i64(*target))


def test_reshape_needs_a_known_shape() -> None:
    found = ops.find("Reshape", "t")
    with pytest.raises(ShapeError, match="expected shape to be known when the program is planned"):
        found.infer(found.make_attrs({}, "t"), [TensorSpec((6,)), TensorSpec((2,), "int64")], [None, None])


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
def test_flatten_agrees_with_onnxruntime(axis: int) -> None:
    check("Flatten", {"axis": axis}, sample(np.random.default_rng(3), (2, 3, 4)))


def test_flatten_refuses_an_axis_beyond_the_rank() -> None:
    assert "expected axis in [-2, 2], got 3" in refusal("Flatten", {"axis": 3}, TensorSpec((2, 3)))


@pytest.mark.parametrize("axes", [None, (0,), (0, -2), (3, 1)], ids=str)
def test_squeeze_agrees_with_onnxruntime(axes: tuple[int, ...] | None) -> None:
    x = (
        sample(np.random.default_rng(4), (1, 1, 5, 1, 2))
        if axes == (3, 1)
        else sample(np.random.default_rng(4), (1, 1, 4))
    )
    check("Squeeze", {}, x, *([] if axes is None else [i64(*axes)]))


@pytest.mark.parametrize("axes", [(0,), (-1,), (0, 2), (3, 1), (-1, 0, -3)], ids=str)
def test_unsqueeze_counts_axes_in_its_output(axes: tuple[int, ...]) -> None:
    check("Unsqueeze", {}, sample(np.random.default_rng(5), (3, 4)), i64(*axes))


def test_squeeze_and_unsqueeze_refuse_bad_axes() -> None:
    x = TensorSpec((1, 3))
    assert "expected size 1 at axes (1,)" in refusal("Squeeze", {}, x, i64(1))
    assert "got 2" in refusal("Squeeze", {}, x, i64(2))
    assert "expected distinct axes" in refusal("Unsqueeze", {}, x, i64(0, 0))
    assert "got 4" in refusal("Unsqueeze", {}, x, i64(4, 0))


@pytest.mark.parametrize(
    "attrs", [{}, {"start": 1}, {"end": -1}, {"start": -2, "end": 9}, {"start": 2, "end": 1}], ids=str
)
def test_shape_and_size_agree_with_onnxruntime(attrs: dict[str, int]) -> None:
    check("Shape", attrs, np.zeros((2, 3, 4), np.uint8))
    check("Size", {}, np.zeros((2, 3, 4), np.float32))
    check("Size", {}, np.zeros((), np.float32))


@pytest.mark.parametrize(
    ("value", "dtype"), [(0.0, "float32"), (2.5, "float32"), (-7, "int64"), (3, "uint8"), (True, "bool"), (1, "int32")]
)
def test_constant_of_shape_fills_with_its_value(value: float, dtype: str) -> None:
    for shape in (i64(), i64(3), i64(2, 0, 4), i64(2, 3)):
        check("ConstantOfShape", {"value": value, "dtype": dtype}, shape)


@pytest.mark.parametrize(
    ("attrs", "shape", "message"),
    [
        ({}, i64(2, -1), "expected sizes of 0 or more"),
        ({}, i64(1 << 20, 1 << 20), "at most 4,294,967,296 bytes"),
        ({"value": 300, "dtype": "uint8"}, i64(2), "expected value to be uint8, got 300"),
        ({"value": float("nan"), "dtype": "int32"}, i64(2), "expected value to be int32"),
        ({"dtype": "complex64"}, i64(2), "complex64"),
    ],
)
def test_constant_of_shape_refuses_what_cannot_be(attrs: dict[str, Any], shape: Array, message: str) -> None:
    found = ops.find("ConstantOfShape", "t")
    with pytest.raises((ShapeError, DTypeError)) as caught:
        found.infer(found.make_attrs(attrs, "t"), [TensorSpec.of(shape)], [shape])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("start", "limit", "delta", "dtype"),
    [(0, 5, 1, "int64"), (10, 0, -3, "int32"), (1, 2, 0.25, "float32"), (3, 0, 1, "int64"), (0.5, 3.2, 1, "float64")],
)
def test_range_agrees_with_onnxruntime(start: float, limit: float, delta: float, dtype: str) -> None:
    check("Range", {}, *(np.array(v, dtype) for v in (start, limit, delta)))


def test_range_refuses_to_run_for_ever() -> None:
    found = ops.find("Range", "t")
    for values, message in (
        ((0.0, 1.0, 0.0), "other than 0"),
        ((0.0, np.inf, 1.0), "finite scalars"),
        ((-1e308, 1e308, 1e-300), "finite length"),
        ((0.0, 1e18, 1.0), "at most"),
    ):
        arrays = [np.array(v) for v in values]
        with pytest.raises(ShapeError, match=message):
            found.infer(found.make_attrs({}, "t"), [TensorSpec.of(v) for v in arrays], arrays)


def test_shape_reads_nothing_but_the_shape_so_it_folds_before_its_input_is_known() -> None:
    hollow = np.broadcast_to(np.zeros((), np.float32), (2, 1 << 30, 3))
    assert evaluate("Shape", {"start": 1}, [hollow[:1, :4]])[0].tolist() == [4, 3]
    assert ops.find("Shape", "t").reference(ops.find("Shape", "t").make_attrs({}, "t"), hollow)[0].tolist() == [
        2,
        1 << 30,
        3,
    ]
