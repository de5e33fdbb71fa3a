"""What the backward pass needs of activations: the gradient of the result times the slope.

From the result: ReluGrad, SigmoidGrad, TanhGrad (dy, y). From the input, with the attributes of the activation:
LeakyReluGrad, HardSigmoidGrad, HardSwishGrad, EluGrad, SoftplusGrad, SwishGrad, MishGrad, GeluGrad (dy, x), and
ClipGrad (dy, x, low, high). At a kink the slope is torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.lower.steps import lower_elementwise
from alula.runtime.ops import checks
from alula.runtime.ops.activation import EluAttrs, GeluAttrs, HardSigmoidAttrs, LeakyReluAttrs, SwishAttrs
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _infer(attrs: Any, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    dy, other = checks.given(specs, 0, "dY"), checks.given(specs, 1, "the tensor")
    checks.one_of("the gradient", dy, checks.FLOATS)
    if dy != other:
        raise ShapeError(f"expected a gradient {other} as the tensor is, got {dy}; check the graph")
    return (dy,)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _swish_slope(a: SwishAttrs, x: Array) -> Array:
    s = _sigmoid(a.alpha * x)
    return np.asarray(s + a.alpha * x * s * (1 - s))


def _mish_slope(a: NoAttrs, x: Array) -> Array:
    t, s = np.tanh(np.logaddexp(0, x)), _sigmoid(x)
    return np.asarray(t + x * s * (1 - t * t))


def _gelu_slope(a: GeluAttrs, x: Array) -> Array:
    if a.approximate == "tanh":
        c = math.sqrt(2 / math.pi)
        t = np.tanh(c * (x + 0.044715 * x**3))
        return np.asarray(0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x))
    cdf = 0.5 * (1 + _erf(x / math.sqrt(2)))
    return np.asarray(cdf + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _hard_swish_slope(a: NoAttrs, x: Array) -> Array:
    return np.where(x <= -3, 0.0, np.where(x < 3, x / 3 + 0.5, 1.0))


def _hard_sigmoid_slope(a: HardSigmoidAttrs, x: Array) -> Array:
    line = a.alpha * x + a.beta
    return np.where((line > 0) & (line < 1), a.alpha, 0.0)


def _slope(name: str, slope: Callable[[Any, Array], Any], attrs: type = NoAttrs) -> Op:
    """An op (dy, tensor) -> dy * slope(tensor)."""

    def reference(a: Any, dy: Array, tensor: Array) -> tuple[Array]:
        wide = tensor.astype(np.float64)
        with np.errstate(over="ignore"):
            return ((dy * slope(a, wide)).astype(dy.dtype),)

    reference.__doc__ = f"dY times the slope of {name.removesuffix('Grad')}; shapes as dY's."
    return Op(name, _infer, reference, attrs, n_inputs=(2, 2), elementwise=True, lower=lower_elementwise)


def clip_grad(attrs: NoAttrs, dy: Array, x: Array, low: Array | None = None, high: Array | None = None) -> tuple[Array]:
    """dY where x lies within the bounds, which belong to it.

    dy, x     : one shape; low, high: scalars, or absent
    """
    inside = np.ones(x.shape, bool)
    if low is not None:
        inside &= x >= low
    if high is not None:
        inside &= x <= high
    return (np.where(inside, dy, dy.dtype.type(0)),)


register(
    _slope("ReluGrad", lambda a, y: y > 0),
    _slope("SigmoidGrad", lambda a, y: y * (1 - y)),
    _slope("TanhGrad", lambda a, y: 1 - y * y),
    _slope("LeakyReluGrad", lambda a, x: np.where(x > 0, 1.0, a.alpha), LeakyReluAttrs),
    _slope("HardSigmoidGrad", _hard_sigmoid_slope, HardSigmoidAttrs),
    _slope("HardSwishGrad", _hard_swish_slope),
    _slope("EluGrad", lambda a, x: np.where(x > 0, 1.0, a.alpha * np.exp(np.minimum(x, 0))), EluAttrs),
    _slope("SoftplusGrad", lambda a, x: _sigmoid(x)),
    _slope("SwishGrad", _swish_slope, SwishAttrs),
    _slope("MishGrad", _mish_slope),
    _slope("GeluGrad", _gelu_slope, GeluAttrs),
    Op("ClipGrad", _infer, clip_grad, n_inputs=(2, 4), elementwise=True, lower=lower_elementwise),
)
