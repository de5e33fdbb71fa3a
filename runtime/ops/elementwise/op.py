"""Arithmetic, comparisons, logic and casts, element by element, with ONNX's (that is, NumPy's) broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import (
    ANY,
    BOOL,
    FLOATS,
    MANY,
    NUMBERS,
    SIGNED,
    broadcast,
    choice,
    common_dtype,
    given,
    optional,
    tensor,
)
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.elementwise.op_activation import unary
from alula.runtime.ops.traits import first


@frozen
class ModAttrs:
    """fmod : 0 takes the divisor's sign, as Python does; 1 the dividend's, as C does"""

    fmod: int = 0


@frozen
class CastAttrs:
    """to : name of a dtype. saturate : of ONNX's 8-bit floats, which we do not have; no effect"""

    to: str
    saturate: int = 1


@frozen
class DropoutAttrs:
    """seed : of training only; no effect"""

    seed: int | None = None


def variadic(
    name: str,
    function: Callable[[Array, Array], Any],
    dtypes: tuple[str, ...],
    *,
    most: int = 2,
    result: str | None = None,
    elementwise: bool = False,
) -> Op:
    """An op that folds a function of two tensors over inputs of one dtype.

    most   : maximum number of inputs; more than two means one or more, otherwise exactly two
    result : dtype of the output, if not the inputs'
    """

    def infer(attrs: Any, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
        dtype = common_dtype(specs, range(len(specs)), dtypes)
        return (tensor(broadcast(*(s.dims for s in specs if s is not None)), result or dtype),)

    def reference(attrs: Any, *inputs: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return (np.asarray(reduce(function, inputs)).astype(result or inputs[0].dtype),)

    return Op(
        name, infer, reference, n_inputs=(2 if most == 2 else 1, most), elementwise=elementwise, pointwise=True,
        has_buffers=not result,
    )  # fmt: skip


def divide(x: Array, y: Array) -> Array:
    """x / y; of integers the quotient is truncated towards zero, as in C."""
    if x.dtype.kind in "iu":
        return np.asarray((x - np.fmod(x, y)) // y)
    return np.asarray(x / y)


def infer_mod(attrs: ModAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The broadcast shape."""
    choice(attrs.fmod, (0, 1), "fmod")
    dtype = common_dtype(specs, (0, 1), NUMBERS)
    return (tensor(broadcast(given(specs, 0).dims, given(specs, 1).dims), dtype),)


def reference_mod(attrs: ModAttrs, x: Array, y: Array) -> tuple[Array, ...]:
    """Remainder."""
    with np.errstate(all="ignore"):
        return (np.asarray(np.fmod(x, y) if attrs.fmod else np.mod(x, y)),)


def infer_pow(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The broadcast shape, the base's dtype; the exponent may have another."""
    base, exponent = given(specs, 0, dtypes=NUMBERS), given(specs, 1, dtypes=NUMBERS)
    return (tensor(broadcast(base.dims, exponent.dims), base.dtype),)


def reference_pow(attrs: NoAttrs, base: Array, exponent: Array) -> tuple[Array, ...]:
    """Integer bases go through float64: exact to 2**53, and negative exponents truncate to zero."""
    wide = np.float32 if base.dtype == np.float16 else base.dtype if base.dtype.kind == "f" else np.float64
    with np.errstate(all="ignore"):
        return (np.asarray(np.power(base.astype(wide), exponent)).astype(base.dtype),)


def infer_where(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The broadcast shape of condition, x and y."""
    condition = given(specs, 0, dtypes=BOOL)
    dtype = common_dtype(specs, (1, 2))
    return (tensor(broadcast(condition.dims, given(specs, 1).dims, given(specs, 2).dims), dtype),)


def reference_where(attrs: NoAttrs, condition: Array, x: Array, y: Array) -> tuple[Array, ...]:
    """x where the condition holds, else y."""
    return (np.where(condition, x, y),)


def infer_cast(attrs: CastAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's shape, the dtype asked for."""
    return (tensor(given(specs, 0).dims, attrs.to),)


def reference_cast(attrs: CastAttrs, x: Array) -> tuple[Array, ...]:
    """Floats truncate towards zero and integers wrap; a float that does not fit its integer is undefined, as in C."""
    with np.errstate(all="ignore"):
        return (x.astype(attrs.to),)


def infer_identity(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's spec."""
    return (given(specs, 0),)


def reference_identity(attrs: NoAttrs, x: Array) -> tuple[Array, ...]:
    """The input itself, not a copy."""
    return (x,)


def infer_dropout(attrs: DropoutAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's spec, and the mask's; a node may leave out the mask."""
    x = given(specs, 0, dtypes=FLOATS)
    training, ratio = optional(values, 2), optional(values, 1)
    if optional(specs, 2) is not None and (training is None or training.any()) and (ratio is None or ratio.any()):
        raise GraphError("expected training_mode to be false, got true or a computed one; export it for inference")
    return x, TensorSpec(x.shape, "bool")


def reference_dropout(
    attrs: DropoutAttrs, x: Array, ratio: Array | None = None, training: Array | None = None
) -> tuple[Array, ...]:
    """Inference: the input itself, and a mask that keeps everything."""
    return x, np.ones(x.shape, np.bool_)


def _unary(name: str, function: Callable[[Any, Array], Any], dtypes: tuple[str, ...] = FLOATS) -> Op:
    """An op that is a stage of the elementwise kernel, of its own name."""
    return unary(name, function, dtypes, stage=lambda attrs: (name.lower(), 0.0, 0.0))


register(
    _unary("Sqrt", lambda a, x: np.sqrt(x)),
    _unary("Exp", lambda a, x: np.exp(x)),
    _unary("Log", lambda a, x: np.log(x)),
    _unary("Reciprocal", lambda a, x: 1 / x),
    _unary("Floor", lambda a, x: np.floor(x)),
    _unary("Ceil", lambda a, x: np.ceil(x)),
    _unary("Round", lambda a, x: np.rint(x)),  # halves go to the even neighbour
    _unary("Abs", lambda a, x: np.abs(x), NUMBERS),
    _unary("Neg", lambda a, x: np.negative(x), SIGNED),
    _unary("Sign", lambda a, x: np.sign(x), NUMBERS),
    unary("Sin", lambda a, x: np.sin(x)),
    unary("Cos", lambda a, x: np.cos(x)),
    unary("Not", lambda a, x: np.logical_not(x), BOOL),
    variadic("Add", np.add, NUMBERS, elementwise=True),
    variadic("Sub", np.subtract, NUMBERS, elementwise=True),
    variadic("Mul", np.multiply, NUMBERS, elementwise=True),
    variadic("Div", divide, NUMBERS, elementwise=True),
    variadic("Min", np.minimum, NUMBERS, most=MANY),
    variadic("Max", np.maximum, NUMBERS, most=MANY),
    variadic("Equal", np.equal, ANY, result="bool"),
    variadic("Less", np.less, NUMBERS, result="bool"),
    variadic("LessOrEqual", np.less_equal, NUMBERS, result="bool"),
    variadic("Greater", np.greater, NUMBERS, result="bool"),
    variadic("GreaterOrEqual", np.greater_equal, NUMBERS, result="bool"),
    variadic("And", np.logical_and, BOOL, result="bool"),
    variadic("Or", np.logical_or, BOOL, result="bool"),
    variadic("Xor", np.logical_xor, BOOL, result="bool"),
    Op("Mod", infer_mod, reference_mod, ModAttrs, n_inputs=(2, 2), pointwise=True),
    Op("Pow", infer_pow, reference_pow, n_inputs=(2, 2), pointwise=True, elementwise=True),
    Op("Where", infer_where, reference_where, n_inputs=(3, 3), pointwise=True, has_buffers=True),
    Op("Cast", infer_cast, reference_cast, CastAttrs, is_view=True, pointwise=True),
    Op("Identity", infer_identity, reference_identity, is_view=True, pointwise=True),
    Op(
        "Dropout", infer_dropout, reference_dropout, DropoutAttrs, n_inputs=(1, 3), static_inputs=(1, 2), is_view=True, rank=first
    ),
)  # fmt: skip
