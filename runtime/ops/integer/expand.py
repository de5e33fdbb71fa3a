"""Sums of products of codes in the form that has a kernel: a matrix product as a convolution of one pixel, zero points apart."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.ops.checks import given
from alula.runtime.ops.conv.op import conv_window
from alula.runtime.ops.integer.op import MAX_WEIGHT
from alula.runtime.planning.expansion import Expansion, expands

EXACT = 1 << 24  # float32 holds every integer up to this
MAX_CODE = 255  # of a code less its zero point, either sign


@expands("MatMulInteger")
def matmul_integer(parts: Expansion) -> str | None:
    """A convolution if B is a constant, else a product of float32, where that holds every sum."""
    a, b, a_zero, b_zero = (*parts.node.inputs, "", "")[:4]
    (a_spec, b_spec), zeros = (given(parts.specs, index) for index in range(2)), (*parts.specs[2:], None, None)[:2]
    if len(a_spec.dims) < 2 or len(b_spec.dims) < 2 or a_spec.size == 0 or b_spec.size == 0:
        return None
    one_zero = zeros[0] is None or zeros[0].size == 1
    if one_zero and len(b_spec.dims) == 2 and _has_kernel(parts, b, b_zero):
        (k, n), m = b_spec.dims, math.prod(a_spec.dims[:-1])
        filters = parts.reshaped(parts.add("Transpose", b, perm=(1, 0)), (n, 1, k))
        zero = a_zero and parts.reshaped(a_zero, ())
        each = b_zero and parts.reshaped(b_zero, (n,) if zeros[1] and zeros[1].size == n else ())
        sums = parts.add("ConvInteger", parts.reshaped(a, (1, m, k)), filters, zero, *filter(None, (each,)))
        return parts.reshaped(sums, (*a_spec.dims[:-1], n))
    n = 1 if zeros[1] is None else zeros[1].size
    if not one_zero or n not in (1, b_spec.dims[-1]) or a_spec.dims[-1] * MAX_CODE**2 > EXACT:
        return None
    real = [_real(parts, a, a_zero, 1, 0), _real(parts, b, b_zero, n, len(b_spec.dims) - 1)]
    return parts.add("Cast", parts.add("MatMul", *real), to="int32")


def _real(parts: Expansion, codes: str, zero: str, n: int, axis: int) -> str:
    """Codes less their zero points as float32; there are n of these, along an axis."""
    shape = () if n == 1 else (n,)
    one = parts.constant(np.ones(shape), "float32")
    return parts.add("DequantizeLinear", codes, one, *([parts.reshaped(zero, shape)] if zero else []), axis=axis)


def _has_kernel(parts: Expansion, weight: str, zero: str) -> bool:
    """Whether the kernel of convolutions takes these weights."""
    if weight not in parts.known or (zero and zero not in parts.known):
        return False
    codes = parts.known[weight].astype(np.int16)
    return bool(np.abs(codes - (parts.known[zero] if zero else 0)).max() <= MAX_WEIGHT)


@expands("ConvInteger")
def conv_integer(parts: Expansion) -> str | None:
    """A zero point of x that is only known at run time: it pads x, and its share of the sums is subtracted afterwards."""
    x, weight, x_zero, w_zero = (*parts.node.inputs, "", "")[:4]
    if not x_zero or x_zero in parts.known or any(name and name not in parts.known for name in (weight, w_zero)):
        return None
    x_dims, w_dims, attrs = given(parts.specs, 0).dims, given(parts.specs, 1).dims, parts.node.attrs
    window = conv_window(attrs, x_dims, w_dims)
    zero = parts.reshaped(x_zero, ())
    if any((*window.pads_begin, *window.pads_end)):
        pads = (0, *window.pads_begin, 0, 0, *window.pads_end, 0)
        x = parts.add("Pad", x, parts.constant(pads, "int64"), zero)
    values = {name: getattr(attrs, name) for name in ("dilations", "group", "kernel_shape", "strides")}
    sums = parts.add("ConvInteger", x, weight, "", *filter(None, (w_zero,)), **values)
    wide = parts.add("Cast", weight, to="int32")
    if w_zero:
        each = parts.reshaped(parts.add("Cast", w_zero, to="int32"), (-1, *[1] * (len(w_dims) - 1)))
        wide = parts.add("Sub", wide, each)
    filters = parts.add("ReduceSum", wide, parts.constant(list(range(1, len(w_dims))), "int64"), keepdims=0)
    return parts.add("Sub", sums, parts.add("Mul", filters, parts.add("Cast", zero, to="int32")))
