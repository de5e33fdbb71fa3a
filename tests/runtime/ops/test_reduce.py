"""Reductions against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime import ops
from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import TensorSpec
from tests.runtime.ops.onnx_oracle import check, evaluate, sample

OPS = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceProd", "ReduceSumSquare",
    "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip
AXES: list[list[int] | None] = [None, [], [0], [-1], [1, 2], [0, 2], [2, 0, 1]]


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("op", OPS)
def test_reductions_agree_with_onnxruntime_on_any_axes(op: str, axes: list[int] | None) -> None:
    rng = np.random.default_rng(1)
    for shape in ((2, 3, 5), (1, 17, 16)):
        x = np.abs(sample(rng, shape)) + 0.5
        for keepdims in (0, 1):
            inputs = [x] if axes is None else [x, np.array(axes, np.int64)]
            check(op, {"keepdims": keepdims}, *inputs, tolerance=3e-5)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
def test_no_axes_may_mean_no_reduction(op: str) -> None:
    x = sample(np.random.default_rng(2), (3, 4))
    check(op, {"noop_with_empty_axes": 1}, x)
    check(op, {"noop_with_empty_axes": 1}, x, np.array([], np.int64))
    check(op, {"noop_with_empty_axes": 1}, x, np.array([0], np.int64))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"])
def test_reductions_take_integers(op: str, dtype: str) -> None:
    check(op, {}, sample(np.random.default_rng(3), (3, 5), dtype), np.array([1], np.int64))


def test_the_largest_and_smallest_take_bytes_and_bool() -> None:
    rng = np.random.default_rng(4)
    for dtype in ("int8", "uint8", "bool"):
        for op in ("ReduceMax", "ReduceMin"):
            x = sample(rng, (4, 6), dtype)
            (y,) = evaluate(op, {"keepdims": 0}, [x, np.array([1])])
            assert y.tolist() == (x.max(1) if op == "ReduceMax" else x.min(1)).tolist()


@pytest.mark.parametrize(
    ("op", "neutral"),
    [("ReduceSum", 0), ("ReduceProd", 1), ("ReduceMax", -np.inf), ("ReduceMin", np.inf), ("ReduceLogSumExp", -np.inf)],
)
def test_an_empty_set_gives_the_neutral_element(op: str, neutral: float) -> None:
    (y,) = evaluate(op, {"keepdims": 0}, [np.zeros((2, 0, 3), np.float32), np.array([1])])
    assert y.shape == (2, 3) and (y == neutral).all()


def test_the_mean_of_an_empty_set_is_nan() -> None:
    assert np.isnan(evaluate("ReduceMean", {"keepdims": 0}, [np.zeros((0,), np.float32)])[0])


def test_log_sum_exp_does_not_overflow() -> None:
    check("ReduceLogSumExp", {}, np.array([[1000.0, 1000.0], [-1000.0, -1000.0]], np.float32), np.array([1], np.int64))


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_arg_max_and_arg_min_break_ties_as_asked(op: str, axis: int, last: int) -> None:
    x = np.random.default_rng(5).integers(0, 3, (4, 7, 5))  # many ties
    for dtype in ("float32", "int32", "uint8"):
        for keepdims in (0, 1):
            check(op, {"axis": axis, "keepdims": keepdims, "select_last_index": last}, x.astype(dtype))


@pytest.mark.parametrize(
    ("op", "attrs", "spec", "axes", "message"),
    [
        ("ReduceSum", {}, TensorSpec((2, 3)), [2], r"axis from -2 to 1, got 2"),
        ("ReduceSum", {}, TensorSpec((2, 3)), [0, -2], "expected distinct axes"),
        ("ArgMax", {"axis": 3}, TensorSpec((2, 3)), None, "got 3"),
        ("ArgMax", {}, TensorSpec((0, 3)), None, "expected at least one element along axis 0"),
    ],
)
def test_bad_axes_are_refused(op: str, attrs: dict[str, Any], spec: TensorSpec, axes: Any, message: str) -> None:
    found = ops.find(op, "t")
    value = None if axes is None else np.array(axes)
    specs = [spec] if value is None else [spec, TensorSpec.of(value)]
    with pytest.raises(ShapeError, match=message):
        found.infer(found.make_attrs(attrs, "t"), specs, [None, value])


def test_computed_axes_and_float_axes_are_refused() -> None:
    found = ops.find("ReduceSum", "t")
    attrs = found.make_attrs({}, "t")
    with pytest.raises(ShapeError, match="expected axes to be known when the program is planned"):
        found.infer(attrs, [TensorSpec((2, 3)), TensorSpec((1,), "int64")], [None, None])
    with pytest.raises(DTypeError, match="int64 or int32"):
        found.infer(attrs, [TensorSpec((2, 3)), TensorSpec((1,))], [None, np.zeros(1, np.float32)])
