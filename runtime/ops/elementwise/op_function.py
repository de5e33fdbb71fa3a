"""Functions of one tensor that have no kernel: trigonometry, tests for NaN and infinities; and the bits of integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.elementwise.op import variadic
from alula.runtime.ops.elementwise.op_activation import unary

INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")


@frozen
class IsInfAttrs:
    """Which infinities count."""

    detect_negative: int = 1
    detect_positive: int = 1


@frozen
class BitShiftAttrs:
    """direction : LEFT or RIGHT"""

    direction: str


def _test(name: str, function: Callable[[Any, Array], Any], attrs: type = NoAttrs) -> Op:
    """A test of each element: float to bool."""

    def infer(attrs: Any, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
        return (checks.tensor(checks.given(specs, 0, dtypes=checks.FLOATS).dims, "bool"),)

    def reference(attrs: Any, x: Array) -> tuple[Array, ...]:
        return (np.asarray(function(attrs, x)),)

    return Op(name, infer, reference, attrs, pointwise=True)


def _numpy(function: Callable[[Array], Any]) -> Callable[[Any, Array], Any]:
    """A function of NumPy, as that of an op without attributes."""
    return lambda attrs, x: function(x)


def is_inf(attrs: IsInfAttrs, x: Array) -> Array:
    """Whether an element is one of the infinities that count."""
    return np.asarray((x == np.inf) & bool(attrs.detect_positive) | (x == -np.inf) & bool(attrs.detect_negative))


def infer_bit_shift(attrs: BitShiftAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The broadcast shape."""
    checks.choice(attrs.direction, ("LEFT", "RIGHT"), "direction")
    dtype = checks.common_dtype(specs, (0, 1), INTEGERS)
    return (checks.tensor(checks.broadcast(checks.given(specs, 0).dims, checks.given(specs, 1).dims), dtype),)


def bit_shift(attrs: BitShiftAttrs, x: Array, by: Array) -> tuple[Array, ...]:
    """x times or divided by two to the power of `by`; bits that leave the dtype are lost.

    A negative `by` and one of the dtype's width or more shift everything out: what is left is 0, or -1 of a negative x to the
    right (ONNX BitShift-28).
    """
    width = 8 * x.itemsize
    inside = (by >= 0) & (by < width)
    left = attrs.direction == "LEFT"
    amount = np.where(inside, by, 0).astype(x.dtype)
    empty = np.zeros_like(x) if left or x.dtype.kind == "u" else np.right_shift(x, x.dtype.type(width - 1))
    return (np.where(inside, np.left_shift(x, amount) if left else np.right_shift(x, amount), empty).astype(x.dtype),)


register(
    *(
        unary(name, _numpy(function))
        for name, function in {
            "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan, "Sinh": np.sinh, "Cosh": np.cosh,
            "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh,
        }.items()
    ),
    _test("IsNaN", _numpy(np.isnan)),
    _test("IsInf", is_inf, IsInfAttrs),
    variadic("BitwiseAnd", np.bitwise_and, INTEGERS),
    variadic("BitwiseOr", np.bitwise_or, INTEGERS),
    variadic("BitwiseXor", np.bitwise_xor, INTEGERS),
    unary("BitwiseNot", _numpy(np.invert), INTEGERS),
    Op("BitShift", infer_bit_shift, bit_shift, BitShiftAttrs, n_inputs=(2, 2), pointwise=True),
)  # fmt: skip
