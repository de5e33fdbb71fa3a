"""Activations against onnxruntime."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from alula.runtime import ops
from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import TensorSpec
from alula.runtime.ops.elementwise.op_activation import erf, sigmoid, softplus
from tests.runtime.ops.onnx_oracle import check, evaluate, sample

SHAPES = [(), (1,), (7,), (16,), (17,), (2, 3, 5), (1, 33, 4), (0, 4)]

CASES: list[tuple[str, dict[str, Any]]] = [
    ("Relu", {}),
    ("LeakyRelu", {}),
    ("LeakyRelu", {"alpha": 0.3}),
    ("HardSigmoid", {}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.4}),
    ("HardSwish", {}),
    ("Sigmoid", {}),
    ("Tanh", {}),
    ("Elu", {"alpha": 1.5}),
    ("Softplus", {}),
    ("Erf", {}),
    ("Swish", {}),
    ("Swish", {"alpha": 1.7}),
    ("Mish", {}),
    ("Gelu", {}),
    ("Gelu", {"approximate": "tanh"}),
]


@pytest.mark.parametrize(("op", "attrs"), CASES, ids=str)
def test_activations_agree_with_onnx_on_every_shape(op: str, attrs: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    for shape in SHAPES:
        check(op, attrs, sample(rng, shape), tolerance=3e-6)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize(("op", "attrs"), CASES, ids=str)
def test_activations_keep_the_dtype_of_their_input(op: str, attrs: dict[str, Any], dtype: str) -> None:
    x = sample(np.random.default_rng(2), (17,), dtype)
    (y,) = evaluate(op, attrs, [x])
    (wide,) = evaluate(op, attrs, [x.astype(np.float64)])
    assert y.dtype == dtype
    np.testing.assert_allclose(y, wide, rtol=1e-3, atol=1e-3)


def test_relu_takes_integers() -> None:
    check("Relu", {}, np.array([-3, 0, 4], np.int8))
    check("Relu", {}, np.array([-3, 0, 4], np.int32))


def test_activations_do_not_overflow_far_from_zero() -> None:
    x = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    for op in ("Sigmoid", "Softplus", "Swish", "Mish", "Gelu", "Elu", "Tanh", "HardSwish"):
        (y,) = evaluate(op, {}, [x])
        assert np.isfinite(y).all(), op
    assert sigmoid(x)[-1] == 1
    assert softplus(x)[-1] == 1e4


def test_erf_is_exact_to_float64_and_passes_on_infinities_and_nan() -> None:
    x = np.concatenate([np.linspace(-7, 7, 4001), [0.46875, -0.46875, np.inf, -np.inf, 0.0]])
    np.testing.assert_allclose(erf(x), [math.erf(v) for v in x], rtol=0, atol=1e-14)
    assert np.isnan(erf(np.array([np.nan])))[0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int32", "int64"])
def test_clip_agrees_with_onnxruntime_whatever_bounds_are_given(dtype: str) -> None:
    x = sample(np.random.default_rng(3), (5, 7), dtype)
    low, high = np.array(2, dtype), np.array(5, dtype)
    for bounds in ((low, high), (low,), (None, high), (low, None), (), (high, low)):
        check("Clip", {}, x, *bounds)


def test_clip_refuses_bounds_that_are_no_scalars_or_of_another_dtype() -> None:
    x = TensorSpec((4,))
    with pytest.raises(ShapeError, match="expected min to be a scalar"):
        ops.find("Clip", "t").infer(None, [x, TensorSpec((4,))], [])
    with pytest.raises(DTypeError, match="one dtype"):
        ops.find("Clip", "t").infer(None, [x, TensorSpec((), "int32")], [])


@pytest.mark.parametrize("slope", [(5,), (1,), (), (3, 1), (2, 3, 5)])
def test_prelu_broadcasts_its_slope_in_one_direction(slope: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    check("PRelu", {}, sample(rng, (2, 3, 5)), sample(rng, slope))


def test_prelu_refuses_a_slope_larger_than_its_input() -> None:
    with pytest.raises(ShapeError, match=r"expected slope to broadcast to \(3,\)"):
        ops.find("PRelu", "t").infer(None, [TensorSpec((3,)), TensorSpec((2, 3))], [])


def test_activations_of_floats_refuse_integers() -> None:
    for op, attrs in (("Sigmoid", {}), ("Gelu", {}), ("LeakyRelu", {})):
        found = ops.find(op, "t")
        with pytest.raises(DTypeError, match="expected input 0 to be float32 or float16 or float64, got int32"):
            found.infer(found.make_attrs(attrs, "t"), [TensorSpec((3,), "int32")], [])


def test_gelu_refuses_an_unknown_approximation() -> None:
    found = ops.find("Gelu", "t")
    with pytest.raises(ShapeError, match="approximate"):
        found.infer(found.make_attrs({"approximate": "cubic"}, "t"), [TensorSpec((3,))], [])
