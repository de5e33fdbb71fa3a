"""Arithmetic, comparisons, logic and casts against onnxruntime."""

from __future__ import annotations

import re

import numpy as np
import pytest

from alula.runtime import ops
from alula.runtime.errors import AlulaError, DTypeError, GraphError, ShapeError
from alula.runtime.graph import Node, TensorSpec
from alula.runtime.ops.contract import NoAttrs
from tests.runtime.ops.onnx_oracle import check, evaluate, sample

# pairs of shapes: equal, scalar, row, column, both stretch, ranks differ, empty
PAIRS = [
    ((2, 3, 5), (2, 3, 5)),
    ((17,), ()),
    ((), ()),
    ((4, 17), (17,)),
    ((4, 1), (1, 9)),
    ((3, 1, 5), (2, 1, 4, 1)),
    ((0, 4), (1, 4)),
    ((0,), (1,)),
]
UNARY = ("Sqrt", "Exp", "Log", "Reciprocal", "Floor", "Ceil", "Round", "Abs", "Neg", "Sign", "Sin", "Cos")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Min", "Max")
COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


@pytest.mark.parametrize("op", UNARY)
def test_unary_ops_agree_with_onnxruntime(op: str) -> None:
    rng = np.random.default_rng(1)
    for shape in ((), (17,), (2, 3, 5), (0, 4)):
        check(op, {}, sample(rng, shape))
    check(
        op,
        {},
        np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.0, np.inf, -np.inf, np.nan], np.float32)[: 8 if op == "Sign" else 9],
    )


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_abs_neg_and_sign_take_integers(dtype: str) -> None:
    for op in ("Abs", "Neg", "Sign"):
        check(op, {}, sample(np.random.default_rng(2), (9,), dtype))


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=str)
@pytest.mark.parametrize("op", [*ARITHMETIC, *COMPARISONS, "Pow"])
def test_binary_ops_broadcast_as_onnxruntime_does(op: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    x, y = sample(rng, a), sample(rng, b)
    check(op, {}, np.abs(x) if op == "Pow" else x, y, tolerance=1e-5 if op == "Pow" else None)


@pytest.mark.parametrize("dtype", ["float64", "int32", "int64", "int8", "uint8"])
@pytest.mark.parametrize("op", [*ARITHMETIC, *COMPARISONS])
def test_binary_ops_take_other_dtypes(op: str, dtype: str) -> None:
    rng = np.random.default_rng(4)
    x, y = sample(rng, (6, 7), dtype), sample(rng, (7,), dtype)
    y[y == 0] = 1
    check(op, {}, x, y)


def test_integer_division_truncates_towards_zero() -> None:
    x, y = np.array([7, -7, 7, -7, 2**62 + 1], np.int64), np.array([2, 2, -2, -2, 1], np.int64)
    assert evaluate("Div", {}, [x, y])[0].tolist() == [3, -3, -3, 3, 2**62 + 1]


def test_mod_takes_the_sign_of_the_divisor_or_of_the_dividend() -> None:
    x, y = np.array([7, -7, 7, -7], np.int32), np.array([3, 3, -3, -3], np.int32)
    check("Mod", {}, x, y)
    check("Mod", {"fmod": 1}, x, y)
    check("Mod", {"fmod": 1}, x.astype(np.float32), y.astype(np.float32))
    assert evaluate("Mod", {}, [x, y])[0].tolist() == [1, 2, -2, -1]


def test_pow_keeps_the_dtype_of_its_base() -> None:
    base = np.array([1, 2, 3], np.float32)
    check("Pow", {}, base, np.array([2, 0, -1], np.int64))
    check("Pow", {}, np.array([1, 2, 3], np.int32), np.array([2, 0.5, 3], np.float32))
    check("Pow", {}, np.array([-2, 2, 3], np.int64), np.array([3, 5, 2], np.int64))
    assert evaluate("Pow", {}, [np.array([2, 1], np.int32), np.array([-1, -1], np.int32)])[0].tolist() == [0, 1]


@pytest.mark.parametrize("op", ["Min", "Max"])
def test_min_and_max_take_any_number_of_inputs(op: str) -> None:
    rng = np.random.default_rng(5)
    check(op, {}, sample(rng, (3,)))
    check(op, {}, sample(rng, (3, 1)), sample(rng, (4,)), sample(rng, ()), sample(rng, (2, 1, 1)))


def test_logic_agrees_with_onnxruntime() -> None:
    rng = np.random.default_rng(6)
    x, y = sample(rng, (4, 1), "bool"), sample(rng, (5,), "bool")
    for op in ("And", "Or", "Xor", "Equal"):
        check(op, {}, x, y)
    check("Not", {}, x)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool"])
def test_where_broadcasts_all_three_inputs(dtype: str) -> None:
    rng = np.random.default_rng(7)
    check("Where", {}, sample(rng, (4, 1, 1), "bool"), sample(rng, (3, 1), dtype), sample(rng, (5,), dtype))


@pytest.mark.parametrize("to", ["float32", "float16", "float64", "int8", "uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int32", "int64", "bool"])
def test_cast_agrees_with_onnxruntime_where_values_fit(dtype: str, to: str) -> None:
    x = np.abs(sample(np.random.default_rng(8), (31,), dtype)) if dtype != "bool" else np.array([True, False])
    check("Cast", {"to": to}, x, tolerance=1e-3 if to == "float16" else None)


def test_cast_truncates_floats_and_wraps_integers() -> None:
    assert evaluate("Cast", {"to": "int32"}, [np.array([-1.9, 1.9], np.float32)])[0].tolist() == [-1, 1]
    assert evaluate("Cast", {"to": "uint8"}, [np.array([257, -1], np.int32)])[0].tolist() == [1, 255]


def test_dropout_is_the_identity_and_keeps_all_in_its_mask() -> None:
    x = sample(np.random.default_rng(9), (3, 4))
    check("Dropout", {}, x)
    check("Dropout", {"seed": 3}, x, np.array(0.3, np.float32), np.array(False))
    check("Identity", {}, x)


def test_dropout_refuses_to_train() -> None:
    found, x = ops.find("Dropout", "t"), TensorSpec((3,))
    inputs = [x, None, TensorSpec((), "bool")]
    for training in (np.array(True), None):
        with pytest.raises(GraphError, match="expected training_mode to be false"):
            found.infer(found.make_attrs({}, "t"), inputs, [None, None, training])


def test_float16_is_computed_in_float32_and_rounded_once() -> None:
    x = sample(np.random.default_rng(10), (64,), "float16")
    (y,) = evaluate("Exp", {}, [x])
    assert np.array_equal(y, np.exp(x.astype(np.float32)).astype(np.float16))


@pytest.mark.parametrize("op", [*ARITHMETIC, *COMPARISONS, "Pow"])
def test_binary_ops_refuse_shapes_that_do_not_broadcast(op: str) -> None:
    found = ops.find(op, "t")
    for a, b in (((3,), (4,)), ((2, 3), (2,)), ((0,), (3,))):
        with pytest.raises(ShapeError, match=re.escape(f"expected shapes that broadcast, got {a} and {b}")):
            found.infer(found.make_attrs({}, "t"), [TensorSpec(a), TensorSpec(b)], [None, None])


def test_errors_carry_the_label_of_the_node() -> None:
    node = Node("Add", ("a", "b"), ("c",), NoAttrs(), "block.add")
    with pytest.raises(
        DTypeError, match=r"^block\.add \(Add\): expected inputs of one dtype, got float32, int32; cast"
    ):
        ops.infer(node, [TensorSpec((3,)), TensorSpec((3,), "int32")], [None, None])
    with pytest.raises(ShapeError, match=r"^block\.add \(Add\): expected input 1 to be given"):
        ops.infer(node, [TensorSpec((3,)), None], [None, None])
    with pytest.raises(GraphError, match="expected 2 to 2 inputs, got 1"):
        ops.infer(node, [TensorSpec((3,))], [None])


def test_logic_refuses_numbers_and_arithmetic_refuses_bool() -> None:
    for op, dtype in (("And", "float32"), ("Not", "int32"), ("Add", "bool"), ("Neg", "uint8"), ("Less", "bool")):
        found = ops.find(op, "t")
        with pytest.raises(DTypeError, match=f"got {dtype}"):
            found.infer(found.make_attrs({}, "t"), [TensorSpec((3,), dtype)] * found.n_inputs[0], [None, None])


def test_cast_refuses_an_unknown_dtype() -> None:
    found = ops.find("Cast", "t")
    with pytest.raises(DTypeError, match="complex64"):
        found.infer(found.make_attrs({"to": "complex64"}, "t"), [TensorSpec((3,))], [None])


def test_unknown_attributes_are_refused_in_one_line() -> None:
    with pytest.raises(AlulaError, match="expected attributes") as caught:
        ops.find("Cast", "t").make_attrs({"to": "int8", "mode": 3}, "c (Cast)")
    assert "\n" not in str(caught.value)
