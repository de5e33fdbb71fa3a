"""Convolutions of 8-bit codes, channels last, summed exactly in int32.

ConvInteger : x (N, *spatial, C_IN), weight (C_OUT, *kernel, C_IN / group), zero points of both -> int32
QLinearConv : the same with scales; the sum is scaled, rounded and shifted to codes again
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.conv.op import ConvAttrs, conv, infer_conv
from alula.runtime.ops.traits import ChannelsLast, first

CODES = ("int8", "uint8")
MAX_WEIGHT = 127  # of a weight, either sign, that the kernel takes: two products of int8 must fit int16 together (kernel_tile.py)


def _image(attrs: ConvAttrs, x: TensorSpec, weight: TensorSpec) -> tuple[int, ...]:
    """The output's shape, which is that of a Conv of these."""
    return infer_conv(attrs, [TensorSpec(x.shape), TensorSpec(weight.shape)], [None, None])[0].dims


def _parameter(name: str, spec: TensorSpec | None, dtype: str, c_out: int) -> None:
    """raise : DTypeError or ShapeError unless it is absent, one value, or (c_out > 1) one for each output channel"""
    if spec is None:
        return
    checks.one_of(name, spec, (dtype,))
    if spec.size != 1 and spec.dims != (c_out,):
        what = f"({c_out},), one value per output channel" if c_out > 1 else "a scalar"
        raise ShapeError(f"expected {name} to be {what}, got {checks.show(spec.dims)}; check the model")


def _infer_integer(attrs: ConvAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x, weight = checks.given(specs, 0, dtypes=CODES), checks.given(specs, 1, dtypes=CODES)
    dims = _image(attrs, x, weight)
    _parameter("x_zero_point", checks.optional(specs, 2), x.dtype, 1)
    _parameter("w_zero_point", checks.optional(specs, 3), weight.dtype, dims[-1])
    return (checks.tensor(dims, "int32"),)


def _infer_qlinear(attrs: ConvAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x, weight = checks.given(specs, 0, dtypes=CODES), checks.given(specs, 3, dtypes=CODES)
    zero, bias = checks.given(specs, 7, dtypes=CODES), checks.optional(specs, 8)
    dims = _image(attrs, x, weight)
    for index, name, c_out in ((1, "x_scale", 1), (4, "w_scale", dims[-1]), (6, "y_scale", 1)):
        _parameter(name, checks.given(specs, index), "float32", c_out)
    _parameter("x_zero_point", checks.given(specs, 2), x.dtype, 1)
    _parameter("w_zero_point", checks.given(specs, 5), weight.dtype, dims[-1])
    _parameter("y_zero_point", zero, zero.dtype, 1)
    if bias is not None:
        checks.one_of("a bias", bias, ("int32",))
        checks.vector("a bias", bias, dims[-1], "one value per output channel")
    return (checks.tensor(dims, zero.dtype),)


def _sums(attrs: ConvAttrs, x: Array, weight: Array, x_zero: Array | None, w_zero: Array | None) -> Array:
    """Exact sums as float64: (N, *out, C_OUT)."""
    shifted = x.astype(np.float64) - (0 if x_zero is None else x_zero.reshape(()))
    each = 0 if w_zero is None else w_zero.reshape(-1, *[1] * (weight.ndim - 1))
    return conv(attrs, shifted, weight.astype(np.float64) - each)[0]


def conv_integer(
    attrs: ConvAttrs, x: Array, weight: Array, x_zero: Array | None = None, w_zero: Array | None = None
) -> tuple[Array]:
    """Cross-correlate codes; padding is the zero point.

    x      : (N, *spatial, C_IN), int8 or uint8
    weight : (C_OUT, *kernel, C_IN / group), int8 or uint8
    w_zero : a scalar or (C_OUT,)
    return : (N, *out, C_OUT), int32, which wraps
    source : ONNX ConvInteger-10, channels last
    """
    return (_sums(attrs, x, weight, x_zero, w_zero).astype(np.int64).astype(np.int32),)


def factors(x_scale: Array, w_scale: Array, y_scale: Array) -> Array:
    """What a sum is multiplied with: float32, one value or (C_OUT,)."""
    return np.asarray(x_scale.reshape(()) * w_scale.reshape(-1) / y_scale.reshape(()), np.float32)


def qlinear_conv(
    attrs: ConvAttrs, x: Array, x_scale: Array, x_zero: Array, weight: Array, w_scale: Array, w_zero: Array,
    y_scale: Array, y_zero: Array, bias: Array | None = None,
) -> tuple[Array]:  # fmt: skip
    """Cross-correlate codes, and give codes: saturate(round(sum * x_scale * w_scale / y_scale) + y_zero), halves to even.

    x      : (N, *spatial, C_IN), int8 or uint8
    weight : (C_OUT, *kernel, C_IN / group), int8 or uint8; its scale and zero point are scalars or (C_OUT,)
    bias   : (C_OUT,), int32, in steps of x_scale * w_scale
    return : (N, *out, C_OUT), of y_zero's dtype
    source : ONNX QLinearConv-10, channels last; the product is rounded to float32 once, as onnxruntime does
    """
    sums = _sums(attrs, x, weight, x_zero, w_zero) + (0 if bias is None else bias)
    scaled = sums.astype(np.int64).astype(np.int32).astype(np.float32) * factors(x_scale, w_scale, y_scale)
    info = np.iinfo(y_zero.dtype)
    codes = np.rint(scaled).astype(np.float64) + y_zero.reshape(())
    return (np.asarray(np.clip(codes, info.min, info.max)).astype(y_zero.dtype),)


def _integer_macs(attrs: ConvAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    return outputs[0].size * math.prod(checks.given(specs, 1).dims[1:])


def _qlinear_macs(attrs: ConvAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    return outputs[0].size * math.prod(checks.given(specs, 3).dims[1:])


register(
    Op(
        "ConvInteger", _infer_integer, conv_integer, ConvAttrs, n_inputs=(2, 4), macs=_integer_macs,
        channels_last=ChannelsLast(inputs=(0, 1)), rank=first,
    ),
    Op(
        "QLinearConv", _infer_qlinear, qlinear_conv, ConvAttrs, n_inputs=(8, 9), macs=_qlinear_macs,
        channels_last=ChannelsLast(inputs=(0, 3)), rank=first,
    ),
)  # fmt: skip
