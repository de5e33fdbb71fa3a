"""Normalisations. Those over images take channels-last tensors (N, *spatial, C) with one scale per channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import SCALE, SHIFT, STATISTIC, ChannelsLast, Operand, first


@frozen
class BatchNormalizationAttrs:
    """ONNX's attributes; `momentum` matters in training mode alone."""

    epsilon: float = 1e-5
    momentum: float = 0.9
    training_mode: int = 0


@frozen
class LayerNormalizationAttrs:
    """Axes from `axis` to the last are normalised together; `stash_type` 1 computes in float32."""

    axis: int = -1
    epsilon: float = 1e-5
    stash_type: int = 1


@frozen
class InstanceNormalizationAttrs:
    """ONNX's attributes."""

    epsilon: float = 1e-5


@frozen
class GroupNormalizationAttrs:
    """ONNX's attributes (opset 21: scale and bias per channel)."""

    num_groups: int
    epsilon: float = 1e-5
    stash_type: int = 1


@frozen
class LpNormalizationAttrs:
    """The norm's order `p`, 1 or 2."""

    axis: int = -1
    p: int = 2


def _wide(x: Array) -> Array:
    return x.astype(np.result_type(x, np.float32), copy=False)


def _centred(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """x normalised over axes, the mean, and 1 / sqrt(variance + epsilon)."""
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    inv_std_dev = 1 / np.sqrt(np.mean(centred * centred, axis=axes, keepdims=True) + x.dtype.type(epsilon))
    return centred * inv_std_dev, mean, inv_std_dev


def _infer_batch(attrs: BatchNormalizationAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "X")
    checks.one_of("the input", x, checks.FLOATS)
    if len(x.dims) < 2:
        raise ShapeError(f"expected input (N, ..., C), got {checks.show(x.dims)}; reshape it")
    for i, name in enumerate(("scale", "B", "input_mean", "input_var"), 1):
        spec = checks.given(specs, i, name)
        checks.one_of(name, spec, checks.FLOATS)
        checks.vector(name, spec, x.dims[-1], "one value per channel")
    if not attrs.training_mode:
        return (x,)
    return x, checks.given(specs, 3, "input_mean"), checks.given(specs, 4, "input_var")


def batch_normalization(
    attrs: BatchNormalizationAttrs, x: Array, scale: Array, bias: Array, mean: Array, var: Array
) -> tuple[Array, ...]:
    """Normalise each channel with known statistics, or in training mode with the batch's own.

    x      : (N, ..., C)
    others : (C,)
    return : (N, ..., C); in training mode also the running mean and variance (of the population), both (C,)
    source : ONNX BatchNormalization-15, channels last
    """
    wide = _wide(x)
    running: tuple[Array, ...] = ()
    if attrs.training_mode:
        axes = tuple(range(x.ndim - 1))
        now = wide.mean(axis=axes), wide.var(axis=axes)
        keep = attrs.momentum
        running = tuple(
            (old * keep + new * (1 - keep)).astype(old.dtype) for old, new in zip((mean, var), now, strict=True)
        )
        mean, var = now
    gain = scale.astype(wide.dtype) / np.sqrt(var.astype(wide.dtype) + wide.dtype.type(attrs.epsilon))
    y = (wide - mean.astype(wide.dtype)) * gain + bias.astype(wide.dtype)
    return y.astype(x.dtype, copy=False), *running


def _infer_layer(attrs: LayerNormalizationAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "X")
    checks.one_of("the input", x, checks.FLOATS)
    axis = checks.axis_of(attrs.axis, len(x.dims))
    inner = x.dims[axis:]
    for i, name in enumerate(("Scale", "B"), 1):
        spec = checks.given(specs, i, name) if i == 1 else checks.optional(specs, i)
        if spec is None:
            continue
        checks.one_of(name, spec, checks.FLOATS)
        pairs = zip(spec.dims[::-1], x.dims[::-1], strict=False)
        if len(spec.dims) > len(x.dims) or any(have not in (1, want) for have, want in pairs):
            raise ShapeError(f"expected {name} to broadcast to {checks.show(inner)}, got {checks.show(spec.dims)}")
    stash = TensorSpec((*x.dims[:axis], *(1 for _ in inner)), "float32" if x.dtype == "float16" else x.dtype)
    return x, stash, stash


def layer_normalization(
    attrs: LayerNormalizationAttrs, x: Array, scale: Array, bias: Array | None = None
) -> tuple[Array, ...]:
    """Normalise over the axes from `axis` on.

    scale, bias : broadcast to x.shape[axis:]; bias may be None
    return      : x's shape; Mean and InvStdDev, with ones for the normalised axes
    source      : ONNX LayerNormalization-17
    """
    axes = tuple(range(attrs.axis % x.ndim, x.ndim))
    y, mean, inv_std_dev = _centred(_wide(x), axes, attrs.epsilon)
    y = y * scale.astype(y.dtype)
    if bias is not None:
        y = y + bias.astype(y.dtype)
    return y.astype(x.dtype, copy=False), mean, inv_std_dev


def _infer_rms(attrs: LayerNormalizationAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    return _infer_layer(attrs, specs, values)[:1]


def rms_normalization(attrs: LayerNormalizationAttrs, x: Array, scale: Array) -> tuple[Array]:
    """Divide by the root mean square over the axes from `axis` on, and scale.

    scale  : broadcasts to x.shape[axis:]
    source : ONNX RMSNormalization-23
    """
    wide = _wide(x)
    axes = tuple(range(attrs.axis % x.ndim, x.ndim))
    root = np.sqrt(np.mean(wide * wide, axis=axes, keepdims=True) + wide.dtype.type(attrs.epsilon))
    return ((wide / root * scale.astype(wide.dtype)).astype(x.dtype, copy=False),)


def _infer_image(
    attrs: InstanceNormalizationAttrs | GroupNormalizationAttrs, specs: Specs, values: Values
) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "input")
    checks.one_of("the input", x, checks.FLOATS)
    checks.spatial(x)
    scale, bias = checks.given(specs, 1, "scale"), checks.given(specs, 2, "B")
    checks.same_dtype(x, scale=scale, bias=bias)
    checks.vector("scale", scale, x.dims[-1], "one value per channel")
    checks.vector("bias", bias, x.dims[-1], "one value per channel")
    if isinstance(attrs, GroupNormalizationAttrs) and (attrs.num_groups < 1 or x.dims[-1] % attrs.num_groups):
        raise ShapeError(
            f"expected num_groups that divides {x.dims[-1]} channels, got {attrs.num_groups}; check the model"
        )
    return (x,)


def instance_normalization(attrs: InstanceNormalizationAttrs, x: Array, scale: Array, bias: Array) -> tuple[Array]:
    """Normalise each channel of each image over its pixels.

    x           : (N, *spatial, C)
    scale, bias : (C,)
    source      : ONNX InstanceNormalization-6, channels last
    """
    y, _, _ = _centred(_wide(x), tuple(range(1, x.ndim - 1)), attrs.epsilon)
    return ((y * scale + bias).astype(x.dtype, copy=False),)


def group_normalization(attrs: GroupNormalizationAttrs, x: Array, scale: Array, bias: Array) -> tuple[Array]:
    """Normalise each group of neighbouring channels of each image over its pixels.

    x           : (N, *spatial, C)
    scale, bias : (C,)
    source      : ONNX GroupNormalization-21, channels last
    """
    n, c, groups = x.shape[0], x.shape[-1], attrs.num_groups
    grouped = _wide(x).reshape(n, math.prod(x.shape[1:-1]), groups, c // groups)
    y, _, _ = _centred(grouped, (1, 3), attrs.epsilon)
    return ((y.reshape(x.shape) * scale + bias).astype(x.dtype, copy=False),)


def _infer_lp(attrs: LpNormalizationAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "input")
    checks.one_of("the input", x, checks.FLOATS)
    checks.axis_of(attrs.axis, len(x.dims))
    if attrs.p not in (1, 2):
        raise ShapeError(f"expected p to be 1 or 2, got {attrs.p}; check the model")
    return (x,)


def lp_normalization(attrs: LpNormalizationAttrs, x: Array) -> tuple[Array]:
    """Divide by the 1-norm or 2-norm along an axis; a vector of zeros stays as it is.

    source : ONNX LpNormalization-1
    """
    wide = _wide(x)
    size = np.abs(wide) if attrs.p == 1 else wide * wide
    norm = size.sum(axis=attrs.axis, keepdims=True)
    norm = norm if attrs.p == 1 else np.sqrt(norm)
    return ((wide / np.where(norm == 0, 1, norm)).astype(x.dtype, copy=False),)


def _macs(attrs: object, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    # scale and shift; the statistics, where they are computed, are one more
    return outputs[0].size * (1 if isinstance(attrs, BatchNormalizationAttrs) else 2)


AFFINE = {1: Operand(SCALE), 2: Operand(SHIFT)}
BATCH = {**AFFINE, 3: Operand(STATISTIC), 4: Operand(STATISTIC)}

register(
    Op(
        "BatchNormalization", _infer_batch, batch_normalization, BatchNormalizationAttrs, (5, 5), _macs, hosts=True,
        operands=BATCH, normalizes=True, channels_last=ChannelsLast(), rank=first,
    ),
    Op(
        "LayerNormalization", _infer_layer, layer_normalization, LayerNormalizationAttrs, (2, 3), _macs, operands=AFFINE,
        normalizes=True, rank=first,
    ),
    Op(
        "RMSNormalization", _infer_rms, rms_normalization, LayerNormalizationAttrs, (2, 2), _macs,
        operands={1: Operand(SCALE)}, normalizes=True, rank=first,
    ),
    Op(
        "InstanceNormalization", _infer_image, instance_normalization, InstanceNormalizationAttrs, (3, 3), _macs,
        operands=AFFINE, normalizes=True, channels_last=ChannelsLast(), rank=first,
    ),
    Op(
        "GroupNormalization", _infer_image, group_normalization, GroupNormalizationAttrs, (3, 3), _macs, operands=AFFINE,
        normalizes=True, channels_last=ChannelsLast(), rank=first,
    ),
    Op(
        "LpNormalization", _infer_lp, lp_normalization, LpNormalizationAttrs, (1, 1), _macs, normalizes=True, rank=first
    ),
)  # fmt: skip
