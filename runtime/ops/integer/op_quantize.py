"""Affine quantisation: real = (code - zero_point) * scale, per tensor, per slice of an axis or per block of it."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import FLOATS, axis_of, choice, given, optional, tensor
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import first

CODES = ("uint8", "int8", "uint16", "int16")


@frozen
class DequantizeAttrs:
    """axis : of a scale with more than one element. block_size : elements that share a scale, 0 for the whole axis"""

    axis: int = 1
    block_size: int = 0


@frozen
class QuantizeAttrs:
    """output_dtype : "" takes the zero point's, else uint8. saturate : of 8-bit floats only; no effect"""

    axis: int = 1
    block_size: int = 0
    output_dtype: str = ""
    saturate: int = 1


def check_scale(attrs: DequantizeAttrs | QuantizeAttrs, x: TensorSpec, specs: Specs) -> None:
    """The scale fits x, and the zero point (if any) has the scale's shape; single values fit each other in any shape."""
    scale, zero = given(specs, 1, dtypes=FLOATS), optional(specs, 2)
    dims, rank = scale.dims, len(x.dims)
    if zero is not None and zero.dims != dims and not scale.size == zero.size == 1:
        raise ShapeError(f"expected zero_point of the scale's shape {dims}, got {zero.dims}; make them equal")
    if attrs.block_size < 0:
        raise ShapeError(f"expected a block_size of 0 or more, got {attrs.block_size}")
    if attrs.block_size:
        axis = axis_of(attrs.axis, rank)
        blocks = -(-x.dims[axis] // attrs.block_size)
        expected = (*x.dims[:axis], blocks, *x.dims[axis + 1 :])
    elif scale.size == 1 and len(dims) <= 1:
        return
    else:
        expected = (x.dims[axis_of(attrs.axis, rank)],)
    if dims != expected:
        raise ShapeError(f"expected a scale of shape {expected}, got {dims} for {x}; check axis and block_size")


def along_axis(attrs: DequantizeAttrs | QuantizeAttrs, parameter: Array, x: Array) -> Array:
    """A scale or zero point in a shape that broadcasts to x."""
    if attrs.block_size:
        axis = attrs.axis % x.ndim
        return np.take(parameter, np.arange(x.shape[axis]) // attrs.block_size, axis)
    if parameter.size == 1 and parameter.ndim <= 1:
        return parameter.reshape(())
    return parameter.reshape([-1 if axis == attrs.axis % x.ndim else 1 for axis in range(x.ndim)])


def infer_quantize(attrs: QuantizeAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's shape, as codes."""
    x, zero = given(specs, 0, dtypes=(*FLOATS, "int32")), optional(specs, 2)
    choice(attrs.output_dtype, ("", *CODES), "output_dtype")
    dtype = attrs.output_dtype or (zero.dtype if zero else "uint8")
    if dtype not in CODES or (zero is not None and zero.dtype != dtype):
        raise DTypeError(f"expected zero_point and output_dtype to be one of {CODES}, got {zero} and {dtype}")
    check_scale(attrs, x, specs)
    return (tensor(x.dims, dtype),)


def reference_quantize(attrs: QuantizeAttrs, x: Array, scale: Array, zero: Array | None = None) -> tuple[Array, ...]:
    """saturate(round(x / scale) + zero_point), halves to the even neighbour; a NaN becomes the zero point."""
    dtype = np.dtype(attrs.output_dtype or ("uint8" if zero is None else zero.dtype.name))
    info = np.iinfo(dtype)
    real = x.astype(np.float32) if x.dtype.kind != "f" else x
    with np.errstate(all="ignore"):
        # rounded in the scale's own precision, as ONNX has it; then float64 holds every sum
        rounded = np.rint(real / along_axis(attrs, scale, x)).astype(np.float64)
    shifted = np.nan_to_num(rounded, posinf=np.inf, neginf=-np.inf)
    if zero is not None:
        shifted = shifted + along_axis(attrs, zero, x)
    return (np.asarray(np.clip(shifted, info.min, info.max)).astype(dtype),)


def infer_dequantize(attrs: DequantizeAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's shape, in the scale's dtype."""
    x, zero = given(specs, 0, dtypes=(*CODES, "int32")), optional(specs, 2)
    if zero is not None and zero.dtype != x.dtype:
        raise DTypeError(f"expected zero_point to be {x.dtype} as the codes, got {zero.dtype}; cast it")
    check_scale(attrs, x, specs)
    return (tensor(x.dims, given(specs, 1).dtype),)


def reference_dequantize(
    attrs: DequantizeAttrs, x: Array, scale: Array, zero: Array | None = None
) -> tuple[Array, ...]:
    """(x - zero_point) * scale: the difference is exact, the product rounded once."""
    difference = x.astype(np.float64) - (0 if zero is None else along_axis(attrs, zero, x))
    with np.errstate(all="ignore"):
        return (np.asarray(difference * along_axis(attrs, scale, x)).astype(scale.dtype),)


register(
    Op("QuantizeLinear", infer_quantize, reference_quantize, QuantizeAttrs, n_inputs=(2, 3), rank=first),
    Op("DequantizeLinear", infer_dequantize, reference_dequantize, DequantizeAttrs, n_inputs=(2, 3), rank=first),
)
