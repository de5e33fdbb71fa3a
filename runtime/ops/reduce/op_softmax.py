"""Softmax and LogSoftmax along one axis (ONNX since opset 13; older opsets flatten, which the importer makes explicit)."""

from __future__ import annotations

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import first


@frozen
class SoftmaxAttrs:
    """The axis that sums to one."""

    axis: int = -1


def _infer(attrs: SoftmaxAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "input")
    checks.one_of("the input", x, checks.FLOATS)
    checks.axis_of(attrs.axis, len(x.dims))
    return (x,)


def _shifted(attrs: SoftmaxAttrs, x: Array) -> Array:
    """x minus its largest value along the axis, so that exp cannot overflow."""
    wide = x.astype(np.result_type(x, np.float32), copy=False)
    # initial: an axis of no elements has no largest one, and an empty result
    largest: Array = wide.max(axis=attrs.axis, keepdims=True, initial=-np.inf)
    with np.errstate(invalid="ignore"):  # nothing but -inf along the axis gives NaN, as IEEE 754 has it
        return np.asarray(wide - largest)


def softmax(attrs: SoftmaxAttrs, x: Array) -> tuple[Array]:
    """exp(x) over its sum along the axis. Any shape.

    source : ONNX Softmax-13
    """
    powers = np.exp(_shifted(attrs, x))
    return ((powers / powers.sum(axis=attrs.axis, keepdims=True)).astype(x.dtype, copy=False),)


def log_softmax(attrs: SoftmaxAttrs, x: Array) -> tuple[Array]:
    """The logarithm of `softmax`, without its underflow. Any shape.

    source : ONNX LogSoftmax-13
    """
    shifted = _shifted(attrs, x)
    return ((shifted - np.log(np.exp(shifted).sum(axis=attrs.axis, keepdims=True))).astype(x.dtype, copy=False),)


register(
    Op("Softmax", _infer, softmax, SoftmaxAttrs, rank=first),
    Op("LogSoftmax", _infer, log_softmax, SoftmaxAttrs, rank=first),
)
