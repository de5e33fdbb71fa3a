"""Convolutions over any number of spatial axes, channels last.

Conv          : x (N, *spatial, C_IN), weight (C_OUT, *kernel, C_IN / group), bias (C_OUT,)
ConvTranspose : x (N, *spatial, C_IN), weight (C_IN, *kernel, C_OUT / group), bias (C_OUT,)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import BIAS, WEIGHT, ChannelsLast, Linear, Operand, first
from alula.runtime.ops.window import Window


@frozen
class ConvAttrs:
    """ONNX's attributes; an empty tuple means the default. `kernel_shape` only repeats the weight's."""

    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...] = ()
    group: int = 1
    kernel_shape: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()


@frozen
class ConvTransposeAttrs(ConvAttrs):
    """ONNX's attributes. `output_shape`, if given, is spatial and overrides `pads`."""

    output_padding: tuple[int, ...] = ()
    output_shape: tuple[int, ...] = ()


def conv_window(attrs: ConvAttrs, x_shape: tuple[int, ...], weight_shape: tuple[int, ...]) -> Window:
    """The geometry of a Conv."""
    return Window.sliding(attrs, x_shape[1:-1], weight_shape[1:-1])


def conv_transpose_window(attrs: ConvTransposeAttrs, x_shape: tuple[int, ...], weight_shape: tuple[int, ...]) -> Window:
    """The geometry of a ConvTranspose."""
    return Window.transposed(attrs, x_shape[1:-1], weight_shape[1:-1], attrs.output_padding, attrs.output_shape)


def _checked(attrs: ConvAttrs, specs: Specs) -> tuple[TensorSpec, TensorSpec]:
    """The checks that both ops share."""
    x, weight, bias = checks.given(specs, 0, "X"), checks.given(specs, 1, "W"), checks.optional(specs, 2)
    checks.one_of("the input", x, checks.FLOATS)
    checks.same_dtype(x, weight=weight, bias=bias)
    checks.spatial(x)
    if len(weight.dims) != len(x.dims):
        raise ShapeError(
            f"expected a weight of {len(x.dims)} dimensions as the input has, got {checks.show(weight.dims)}; "
            "check the model"
        )
    if attrs.kernel_shape and attrs.kernel_shape != weight.dims[1:-1]:
        raise ShapeError(
            f"expected kernel_shape {checks.show(weight.dims[1:-1])} as the weight has, "
            f"got {checks.show(attrs.kernel_shape)}; check the model"
        )
    if attrs.group < 1:
        raise ShapeError(f"expected group of at least 1, got {attrs.group}; check the model")
    return x, weight


def infer_conv(attrs: ConvAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The output of a Conv."""
    x, weight = _checked(attrs, specs)
    c_out, c_in = weight.dims[0], weight.dims[-1] * attrs.group
    if x.dims[-1] != c_in:
        expected = checks.show(("N", *x.dims[1:-1], c_in))
        raise ShapeError(
            f"expected input {expected}, got {checks.show(x.dims)}; "
            f"the weight {checks.show(weight.dims)} with {attrs.group} group(s) takes {c_in} channels"
        )
    if c_out % attrs.group:
        raise ShapeError(f"expected output channels divisible by {attrs.group} groups, got {c_out}; check the weight")
    checks.vector("a bias", checks.optional(specs, 2), c_out, "one value per output channel")
    window = conv_window(attrs, x.dims, weight.dims)
    return (checks.tensor((x.dims[0], *window.out, c_out), x.dtype),)


def conv(attrs: ConvAttrs, x: Array, weight: Array, bias: Array | None = None) -> tuple[Array]:
    """Cross-correlate a batch of images with a bank of filters.

    x      : (N, *spatial, C_IN)
    weight : (C_OUT, *kernel, C_IN / group)
    bias   : (C_OUT,), or None
    return : (N, *out, C_OUT)
    source : ONNX Conv-11, channels last; one matrix product per tap
    """
    window = conv_window(attrs, x.shape, weight.shape)
    dtype = np.result_type(x, np.float32)
    n, c_out, groups = x.shape[0], weight.shape[0], attrs.group
    padded = window.pad(x.astype(dtype, copy=False), 0)
    shape = (n, *window.out, c_out)
    y = np.zeros((math.prod(shape[:-1]), groups, c_out // groups), dtype)  # (P, G, C_OUT / G)
    for tap in window.taps():
        pixels = np.ascontiguousarray(padded[window.at(tap)])  # (N, *out, C_IN)
        filters = weight[_tap(tap)].astype(dtype, copy=False)  # (C_OUT, C_IN / group)
        if groups == 1:
            y[:, 0] += pixels.reshape(-1, x.shape[-1]) @ filters.T
        elif filters.shape[1] == 1:  # depthwise
            y += pixels.reshape(-1, groups, 1) * filters.reshape(groups, -1)
        else:
            by_group = _by_group(pixels, groups) @ filters.reshape(groups, -1, filters.shape[1]).transpose(0, 2, 1)
            y += by_group.transpose(1, 0, 2)
    y = y.reshape(shape)
    if bias is not None:
        y += bias
    return (y.astype(x.dtype, copy=False),)


def _infer_conv_transpose(attrs: ConvTransposeAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x, weight = _checked(attrs, specs)
    c_in, c_out = weight.dims[0], weight.dims[-1] * attrs.group
    if x.dims[-1] != c_in:
        expected = checks.show(("N", *x.dims[1:-1], c_in))
        raise ShapeError(
            f"expected input {expected}, got {checks.show(x.dims)}; "
            f"the weight {checks.show(weight.dims)} takes {c_in} channels"
        )
    if c_in % attrs.group:
        raise ShapeError(f"expected input channels divisible by {attrs.group} groups, got {c_in}; check the weight")
    checks.vector("a bias", checks.optional(specs, 2), c_out, "one value per output channel")
    window = conv_transpose_window(attrs, x.dims, weight.dims)
    return (checks.tensor((x.dims[0], *window.out, c_out), x.dtype),)


def conv_transpose(attrs: ConvTransposeAttrs, x: Array, weight: Array, bias: Array | None = None) -> tuple[Array]:
    """Spread each input pixel over a window of the output: the adjoint of `conv`, plus a bias.

    x      : (N, *spatial, C_IN)
    weight : (C_IN, *kernel, C_OUT / group)
    bias   : (C_OUT,), or None
    return : (N, *out, C_OUT)
    source : ONNX ConvTranspose-11, channels last; one matrix product per tap, scattered
    """
    window = conv_transpose_window(attrs, x.shape, weight.shape)
    dtype = np.result_type(x, np.float32)
    n, groups, c_out = x.shape[0], attrs.group, weight.shape[-1] * attrs.group
    spatial = x.shape[1:-1]
    pixels = _by_group(x.astype(dtype, copy=False), groups)  # (G, P, C_IN / G)
    sizes = [
        max((size - 1) * stride + extent, begin + out)
        for size, stride, extent, begin, out in zip(
            spatial, window.strides, window.extent, window.pads_begin, window.out, strict=True
        )
    ]
    full = np.zeros((n, *sizes, c_out), dtype)
    for tap in window.taps():
        filters = weight[_tap(tap)].astype(dtype, copy=False)  # (C_IN, C_OUT / group)
        spread = pixels @ filters.reshape(groups, -1, filters.shape[1])  # (G, P, C_OUT / G)
        full[window.at(tap, spatial)] += spread.transpose(1, 0, 2).reshape(n, *spatial, c_out)
    cut = [slice(begin, begin + out) for begin, out in zip(window.pads_begin, window.out, strict=True)]
    y = full[(slice(None), *cut)]
    if bias is not None:
        y = y + bias
    return (np.ascontiguousarray(y, dtype=x.dtype),)


def _tap(tap: tuple[int, ...]) -> tuple[slice | int, ...]:
    """Selects a tap's filters from a weight."""
    return (slice(None), *tap)


def _by_group(pixels: Array, groups: int) -> Array:
    """(N, *spatial, C) as (G, P, C / G)."""
    return pixels.reshape(-1, groups, pixels.shape[-1] // groups).transpose(1, 0, 2)


def _conv_macs(attrs: ConvAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    return outputs[0].size * math.prod(checks.given(specs, 1, "W").dims[1:])


def _conv_transpose_macs(attrs: ConvTransposeAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    return checks.given(specs, 0, "X").size * math.prod(checks.given(specs, 1, "W").dims[1:])


def _is_padded(attrs: ConvAttrs) -> bool:
    return any(attrs.pads) if attrs.auto_pad == "NOTSET" else attrs.auto_pad != "VALID"


SPATIAL = ChannelsLast(inputs=(0, 1))

register(
    Op(
        "Conv", infer_conv, conv, ConvAttrs, n_inputs=(2, 3), macs=_conv_macs, hosts=True, channels_last=SPATIAL, rank=first,
        operands={1: Operand(WEIGHT, outputs=0, inputs=-1, grouped="inputs"), 2: Operand(BIAS)},
        linear=Linear(1, 2, whole=lambda attrs: not _is_padded(attrs)),
    ),
    Op(
        "ConvTranspose", _infer_conv_transpose, conv_transpose, ConvTransposeAttrs, n_inputs=(2, 3), macs=_conv_transpose_macs,
        hosts=True, channels_last=SPATIAL, rank=first,
        operands={1: Operand(WEIGHT, outputs=-1, inputs=0, grouped="outputs"), 2: Operand(BIAS)},
        linear=Linear(1, 2, whole=lambda attrs: False),
    ),
)  # fmt: skip
