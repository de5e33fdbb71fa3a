"""Activations: functions of one tensor, element by element. References compute float16 in float32 and round once.

An activation that is one stage of the elementwise kernel is one call of `_activation` with its slope. The call makes the op
and its backward op, the gradient of the result times the slope. At a kink the slope is torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.traits import SLOPE, Operand, Stage


@frozen
class LeakyReluAttrs:
    """alpha : slope below zero"""

    alpha: float = 0.01


@frozen
class ThresholdedReluAttrs:
    """alpha : the threshold below which the result is 0"""

    alpha: float = 1.0


@frozen
class EluAttrs:
    """alpha : minus the limit at minus infinity"""

    alpha: float = 1.0


@frozen
class HardSigmoidAttrs:
    """clip(alpha * x + beta, 0, 1)"""

    alpha: float = 0.2
    beta: float = 0.5


@frozen
class GeluAttrs:
    """approximate : "none" (by erf) or "tanh" """

    approximate: str = "none"


@frozen
class SwishAttrs:
    """x * sigmoid(alpha * x)"""

    alpha: float = 1.0


def unary(
    name: str,
    function: Callable[[Any, Array], Any],
    dtypes: tuple[str, ...] = checks.FLOATS,
    attrs: type = NoAttrs,
    stage: Stage | None = None,
    slope: str = "",
    check: Callable[[Any], None] | None = None,
) -> Op:
    """An element-wise op of one input, whose output has the input's shape and dtype."""

    def infer(attrs: Any, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
        if check is not None:
            check(attrs)
        return (checks.given(specs, 0, dtypes=dtypes),)

    def reference(attrs: Any, x: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):  # infinities and NaNs are the answers that IEEE 754 gives
            return (np.asarray(function(attrs, widen(x))).astype(x.dtype),)

    return Op(name, infer, reference, attrs=attrs, elementwise=True, stage=stage, slope=slope)


def widen(x: Array) -> Array:
    """float16 as float32, all else as it is."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


# erf(x) = x * A(x^2) / B(x^2) near zero, 1 - exp(-x^2) * C(x) / D(x) beyond; highest power last but the leading one.
# source: W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969)
_ERF_A = (1.85777706184603153e-1, 3.16112374387056560e00, 1.13864154151050156e02, 3.77485237685302021e02,
          3.20937758913846947e03)  # fmt: skip
_ERF_B = (1.0, 2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03)
_ERF_C = (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e00, 6.61191906371416295e01,
          2.98635138197400131e02, 8.81952221241769090e02, 1.71204761263407058e03, 2.05107837782607147e03,
          1.23033935479799725e03)  # fmt: skip
_ERF_D = (1.0, 1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02, 1.62138957456669019e03,
          3.29079923573345963e03, 4.36261909014324716e03, 3.43936767414372164e03, 1.23033935480374942e03)  # fmt: skip


def erf(x: Array) -> Array:
    """The error function in float64, to about 1e-14."""
    x = np.asarray(x, np.float64)
    size = np.minimum(np.abs(x), 6.0)  # erf(6) is 1 in float64; minimum passes NaN on
    square = size * size
    near = size * np.polyval(_ERF_A, square) / np.polyval(_ERF_B, square)
    far = 1.0 - np.exp(-square) * np.polyval(_ERF_C, size) / np.polyval(_ERF_D, size)
    return np.asarray(np.copysign(np.where(size <= 0.46875, near, far), x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))  # in (0, 1]
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    """A line clipped to [0, 1]."""
    return np.asarray(np.clip(alpha * x + beta, 0, 1))


def gelu(x: Array, approximate: str) -> Array:
    """x times the normal distribution function, or its usual approximation by tanh."""
    if approximate == "tanh":
        return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1 + erf(x / np.sqrt(2))))


def infer_clip(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's spec; bounds are scalars of its dtype."""
    x = checks.given(specs, 0, dtypes=checks.NUMBERS)
    for index, name in ((1, "min"), (2, "max")):
        bound = checks.optional(specs, index)
        if bound is not None:
            checks.common_dtype(specs, (0, index))
            if bound.size != 1 or len(bound.shape) > 1:
                raise ShapeError(f"expected {name} to be a scalar, got {bound}; clip by tensors with Min and Max")
    return (x,)


def reference_clip(attrs: NoAttrs, x: Array, low: Array | None = None, high: Array | None = None) -> tuple[Array, ...]:
    """min(max(x, low), high): where low > high, high wins."""
    y = x if low is None else np.maximum(x, low.reshape(()))
    y = y if high is None else np.minimum(y, high.reshape(()))
    return (np.asarray(y).astype(x.dtype),)


def infer_prelu(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's spec; slope broadcasts to it, in one direction."""
    x = checks.given(specs, 0, dtypes=checks.NUMBERS)
    checks.common_dtype(specs, (0, 1))
    slope = checks.given(specs, 1)
    if checks.broadcast(x.dims, slope.dims) != x.dims:
        raise ShapeError(f"expected slope to broadcast to {x.dims}, got {slope.dims}; reshape slope")
    return (x,)


def reference_prelu(attrs: NoAttrs, x: Array, slope: Array) -> tuple[Array, ...]:
    """x above zero, slope * x below."""
    with np.errstate(all="ignore"):
        return (np.asarray(np.where(x < 0, widen(x) * widen(slope), x)).astype(x.dtype),)


def _infer_slope(attrs: Any, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    grad_y, other = checks.given(specs, 0, "dY"), checks.given(specs, 1, "the tensor")
    checks.one_of("the gradient", grad_y, checks.FLOATS)
    if grad_y != other:
        raise ShapeError(f"expected a gradient {other} as the tensor is, got {grad_y}; check the graph")
    return (grad_y,)


def _swish_slope(a: SwishAttrs, x: Array) -> Array:
    s = sigmoid(a.alpha * x)
    return np.asarray(s + a.alpha * x * s * (1 - s))


def _mish_slope(a: NoAttrs, x: Array) -> Array:
    t, s = np.tanh(np.logaddexp(0, x)), sigmoid(x)
    return np.asarray(t + x * s * (1 - t * t))


def _gelu_slope(a: GeluAttrs, x: Array) -> Array:
    if a.approximate == "tanh":
        c = math.sqrt(2 / math.pi)
        t = np.tanh(c * (x + 0.044715 * x**3))
        return np.asarray(0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x))
    cdf = 0.5 * (1 + erf(x / math.sqrt(2)))
    return np.asarray(cdf + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _hard_swish_slope(a: NoAttrs, x: Array) -> Array:
    return np.where(x <= -3, 0.0, np.where(x < 3, x / 3 + 0.5, 1.0))


def _hard_sigmoid_slope(a: HardSigmoidAttrs, x: Array) -> Array:
    line = a.alpha * x + a.beta
    return np.where((line > 0) & (line < 1), a.alpha, 0.0)


def clip_grad(
    attrs: NoAttrs, grad_y: Array, x: Array, low: Array | None = None, high: Array | None = None
) -> tuple[Array]:
    """dY where x lies within the bounds, which belong to it.

    grad_y, x     : one shape; low, high: scalars, or absent
    """
    inside = np.ones(x.shape, bool)
    if low is not None:
        inside &= x >= low
    if high is not None:
        inside &= x <= high
    return (np.where(inside, grad_y, grad_y.dtype.type(0)),)


def _slope_op(name: str, slope: Callable[[Any, Array], Any], attrs: type, stage: Stage) -> Op:
    """The op (grad_y, tensor) -> grad_y * slope(tensor)."""

    def reference(a: Any, grad_y: Array, tensor: Array) -> tuple[Array]:
        wide = tensor.astype(np.float64)
        with np.errstate(over="ignore"):
            return ((grad_y * slope(a, wide)).astype(grad_y.dtype),)

    reference.__doc__ = f"dY times the slope of {name}; shapes as dY's."
    return Op(f"{name}Grad", _infer_slope, reference, attrs, n_inputs=(2, 2), elementwise=True, stage=stage)


def _activation(
    name: str,
    function: Callable[[Any, Array], Any],
    slope: Callable[[Any, Array], Any],
    stage: Stage | str,
    *,
    attrs: type = NoAttrs,
    dtypes: tuple[str, ...] = checks.FLOATS,
    of: str = "x",
    slope_stage: Stage | str = "",
    check: Callable[[Any], None] | None = None,
) -> None:
    """Register an activation and the op of its backward pass.

    slope       : of the tensor `of`, the input "x" or the result "y", in float64
    stage       : of the elementwise kernel (kernel.py): a name, or name and two numbers by attributes
    slope_stage : the stage of the backward pass, likewise; default: that name with _grad appended
    check       : of the attributes' values
    """
    forward = _named(stage) if isinstance(stage, str) else stage
    if isinstance(slope_stage, str):
        backward = _named(slope_stage) if slope_stage else lambda a: (f"{forward(a)[0]}_grad", *forward(a)[1:])
    else:
        backward = slope_stage
    register(unary(name, function, dtypes, attrs, forward, of, check), _slope_op(name, slope, attrs, backward))


def _named(stage: str) -> Stage:
    return lambda attrs: (stage, 0.0, 0.0)


_activation(
    "Relu", lambda a, x: np.maximum(x, 0), lambda a, y: y > 0, lambda a: ("clip", 0.0, math.inf), dtypes=checks.NUMBERS, of="y",
    slope_stage="relu_grad",
)  # fmt: skip
_activation("Sigmoid", lambda a, x: sigmoid(x), lambda a, y: y * (1 - y), "sigmoid", of="y")
_activation("Tanh", lambda a, x: np.tanh(x), lambda a, y: 1 - y * y, "tanh", of="y")
_activation(
    "LeakyRelu", lambda a, x: np.where(x < 0, a.alpha * x, x), lambda a, x: np.where(x > 0, 1.0, a.alpha),
    lambda a: ("leaky_relu_max" if 0 < a.alpha <= 1 else "leaky_relu", a.alpha, 0.0), attrs=LeakyReluAttrs,
    slope_stage=lambda a: ("leaky_relu_grad", a.alpha, 0.0),
)  # fmt: skip
_activation(
    "ThresholdedRelu", lambda a, x: np.where(x <= a.alpha, 0, x), lambda a, x: x > a.alpha,
    lambda a: ("thresholded_relu", a.alpha, 0.0), attrs=ThresholdedReluAttrs,
)  # fmt: skip
_activation(
    "HardSigmoid", lambda a, x: hard_sigmoid(x, a.alpha, a.beta), _hard_sigmoid_slope,
    lambda a: ("hard_sigmoid", a.alpha, a.beta), attrs=HardSigmoidAttrs,
)  # fmt: skip
_activation("HardSwish", lambda a, x: x * hard_sigmoid(x, 1 / 6, 0.5), _hard_swish_slope, "hard_swish")
_activation(
    "Elu", lambda a, x: np.where(x < 0, a.alpha * np.expm1(x), x),
    lambda a, x: np.where(x > 0, 1.0, a.alpha * np.exp(np.minimum(x, 0))), lambda a: ("elu", a.alpha, 0.0), attrs=EluAttrs,
)  # fmt: skip
_activation("Softplus", lambda a, x: softplus(x), lambda a, x: sigmoid(x), "softplus")
_activation(
    "Swish", lambda a, x: x * sigmoid(a.alpha * x), _swish_slope, lambda a: ("swish", a.alpha, 0.0), attrs=SwishAttrs
)
_activation("Mish", lambda a, x: x * np.tanh(softplus(x)), _mish_slope, "mish")
_activation(
    "Gelu", lambda a, x: gelu(x.astype(np.float64), a.approximate), _gelu_slope,
    lambda a: ("gelu_tanh" if a.approximate == "tanh" else "gelu", 0.0, 0.0), attrs=GeluAttrs,
    check=lambda a: checks.choice(a.approximate, ("none", "tanh"), "approximate"),
)  # fmt: skip
register(
    unary("Erf", lambda a, x: erf(x), checks.NUMBERS, stage=_named("erf")),
    Op("Clip", infer_clip, reference_clip, n_inputs=(1, 3), elementwise=True),
    Op("ClipGrad", _infer_slope, clip_grad, n_inputs=(2, 4), elementwise=True),
    Op("PRelu", infer_prelu, reference_prelu, n_inputs=(2, 2), elementwise=True, operands={1: Operand(SLOPE)}),
)
