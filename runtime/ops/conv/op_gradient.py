"""The gradient of a convolution's weights. That of its input is a transposed convolution (ops/conv/op.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.conv.op import ConvAttrs, conv_window


def weight_shape(attrs: ConvAttrs, x: TensorSpec, grad_y: TensorSpec) -> tuple[int, ...]:
    """(C_OUT, *kernel, C_IN / group)."""
    return (grad_y.dims[-1], *attrs.kernel_shape, x.dims[-1] // attrs.group)


def _infer(attrs: ConvAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x, grad_y = checks.given(specs, 0, "X"), checks.given(specs, 1, "dY")
    checks.one_of("the input", x, checks.FLOATS)
    checks.same_dtype(x, dY=grad_y)
    checks.spatial(x)
    weight = weight_shape(attrs, x, grad_y)
    expected = (x.dims[0], *conv_window(attrs, x.dims, weight).out)
    if grad_y.dims[:-1] != expected:
        raise ShapeError(
            f"expected dY {checks.show((*expected, 'C'))}, got {checks.show(grad_y.dims)}; check the graph"
        )
    return (checks.tensor(weight, x.dtype),)


def conv_weight_grad(attrs: ConvAttrs, x: Array, grad_y: Array) -> tuple[Array]:
    """Sum over all pixels of input times gradient, for each tap.

    x      : (N, *spatial, C_IN)
    grad_y     : (N, *out, C_OUT)
    return : (C_OUT, *kernel, C_IN / group)
    """
    groups, c_out, c_in = attrs.group, grad_y.shape[-1], x.shape[-1]
    window = conv_window(attrs, x.shape, (c_out, *attrs.kernel_shape, c_in // groups))
    padded = window.pad(x, 0)
    rows = grad_y.reshape(-1, groups, c_out // groups)
    grad_weight = np.zeros((c_out, *attrs.kernel_shape, c_in // groups), x.dtype)
    for tap in window.taps():
        pixels = padded[window.at(tap)].reshape(-1, groups, c_in // groups)
        at: tuple[slice | int, ...] = (slice(None), *tap)
        if groups == 1:
            grad_weight[at] = rows[:, 0].T @ pixels[:, 0]
        else:
            grad_weight[at] = np.einsum("pgo,pgi->goi", rows, pixels).reshape(c_out, -1)
    return (grad_weight,)


def _macs(attrs: ConvAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    return checks.given(specs, 1, "dY").size * math.prod(outputs[0].dims[1:])


register(Op("ConvWeightGrad", _infer, conv_weight_grad, ConvAttrs, n_inputs=(2, 2), macs=_macs))
