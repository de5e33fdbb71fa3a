"""Gradients of pools, channels last."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.pool.op import AveragePoolAttrs, MaxPoolAttrs, pool_window


@frozen
class AveragePoolGradAttrs(AveragePoolAttrs):
    """AveragePool's, and the shape of its input."""

    input_shape: tuple[int, ...] = ()


def _checked(attrs: MaxPoolAttrs | AveragePoolAttrs, dims: tuple[int, ...], grad_y: TensorSpec) -> None:
    expected = (dims[0], *pool_window(attrs, dims).out, dims[-1])
    if grad_y.dims != expected:
        raise ShapeError(f"expected dY {checks.show(expected)}, got {checks.show(grad_y.dims)}; check the graph")


def _infer_max(attrs: MaxPoolAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    grad_y, x = checks.given(specs, 0, "dY"), checks.given(specs, 1, "X")
    _checked(attrs, x.dims, grad_y)
    return (x,)


def max_pool_grad(attrs: MaxPoolAttrs, grad_y: Array, x: Array) -> tuple[Array]:
    """The first maximum of each window gets the window's gradient.

    grad_y     : (N, *out, C)
    x      : (N, *spatial, C)
    return : like x
    """
    window = pool_window(attrs, x.shape)
    padded = window.pad(x, -np.inf)
    best = np.full(grad_y.shape, -np.inf, x.dtype)
    chosen = np.full(grad_y.shape, -1)
    for number, tap in enumerate(window.taps()):
        here = padded[window.at(tap)]
        better = (here > best) | (chosen < 0)
        best, chosen = np.where(better, here, best), np.where(better, number, chosen)
    grad_x = np.zeros(padded.shape, grad_y.dtype)
    for number, tap in enumerate(window.taps()):
        grad_x[window.at(tap)] += np.where(chosen == number, grad_y, grad_y.dtype.type(0))
    inner = tuple(slice(b, b + s) for b, s in zip(window.pads_begin, x.shape[1:-1], strict=True))
    return (np.ascontiguousarray(grad_x[(slice(None), *inner)]),)


def _infer_average(attrs: AveragePoolGradAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    grad_y = checks.given(specs, 0, "dY")
    _checked(attrs, attrs.input_shape, grad_y)
    return (TensorSpec(attrs.input_shape, grad_y.dtype),)


def average_pool_grad(attrs: AveragePoolGradAttrs, grad_y: Array) -> tuple[Array]:
    """Every pixel of a window gets the same share of the window's gradient.

    grad_y     : (N, *out, C)
    return : (N, *spatial, C)
    """
    window = pool_window(attrs, attrs.input_shape)
    share = grad_y
    for axis, size in enumerate(attrs.input_shape[1:-1]):
        counts = np.asarray(window.tap_counts(axis, size, bool(attrs.count_include_pad)))
        share = share / counts.reshape(-1, *[1] * (grad_y.ndim - 2 - axis)).astype(grad_y.dtype)
    padded = np.zeros(window.pad(np.zeros(attrs.input_shape, grad_y.dtype), 0).shape, grad_y.dtype)
    for tap in window.taps():
        padded[window.at(tap)] += share
    inner = tuple(slice(b, b + s) for b, s in zip(window.pads_begin, attrs.input_shape[1:-1], strict=True))
    return (np.ascontiguousarray(padded[(slice(None), *inner)]),)


register(
    Op("MaxPoolGrad", _infer_max, max_pool_grad, MaxPoolAttrs, n_inputs=(2, 2)),
    Op("AveragePoolGrad", _infer_average, average_pool_grad, AveragePoolGradAttrs),
)
