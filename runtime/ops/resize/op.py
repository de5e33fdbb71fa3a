"""Resize: nearest, linear and cubic interpolation along any axes, one axis at a time.

Along one axis an output element is a weighted sum of a few input elements. `axis_table` makes that table of indices
and weights; the reference and the kernels read the same one. Coordinates are computed in float32, as onnxruntime
does: `floor` of a coordinate that should be an integer would otherwise differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import first

MODES = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
    "tf_half_pixel_for_nn",  # opset 11 alone
)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
POLICIES = ("stretch", "not_larger", "not_smaller")


@frozen
class ResizeAttrs:
    """ONNX's attributes; `axes` empty means all of them."""

    antialias: int = 0
    axes: tuple[int, ...] = ()
    coordinate_transformation_mode: str = "half_pixel"
    cubic_coeff_a: float = -0.75
    exclude_outside: int = 0
    extrapolation_value: float = 0.0
    keep_aspect_ratio_policy: str = "stretch"
    mode: str = "nearest"
    nearest_mode: str = "round_prefer_floor"


@dataclass(frozen=True, slots=True)
class AxisGeometry:
    """One axis: sizes, the scale that coordinates are computed with, and the part of the input to show (roi)."""

    axis: int
    size_in: int
    size_out: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class AxisTable:
    """How to compute each element along one axis.

    indices : (OUT, TAPS) int64, inside the input
    weights : (OUT, TAPS) float32
    outside : (OUT,) bool, elements that take the extrapolation value instead
    """

    indices: Array
    weights: Array
    outside: Array


def axis_table(attrs: ResizeAttrs, geometry: AxisGeometry) -> AxisTable:
    """The table of one axis; nearest has one tap, linear two, cubic four, antialiased ones more when shrinking."""
    size = geometry.size_in
    at = _coordinates(attrs.coordinate_transformation_mode, geometry)  # (OUT,) float32
    outside = np.zeros(at.shape, bool)
    if attrs.coordinate_transformation_mode == "tf_crop_and_resize":
        outside = (at < 0) | (at > size - 1)
    if attrs.mode == "nearest":
        indices = np.clip(_nearest(attrs.nearest_mode, at), 0, size - 1)[:, None]
        return AxisTable(indices, np.ones(indices.shape, np.float32), outside)
    radius = 1 if attrs.mode == "linear" else 2
    shrink = min(geometry.scale, 1.0) if attrs.antialias else 1.0
    support = radius / shrink
    first = np.floor(at.astype(np.float64) - support).astype(np.int64) + 1
    indices = first[:, None] + np.arange(int(np.ceil(2 * support)))  # (OUT, TAPS)
    distance = np.abs(indices - at.astype(np.float64)[:, None]) * shrink
    weights = np.maximum(1 - distance, 0) if radius == 1 else _cubic(distance, attrs.cubic_coeff_a)
    if attrs.exclude_outside:
        weights = np.where((indices < 0) | (indices >= size), 0, weights)
    if attrs.antialias or attrs.exclude_outside:
        total = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(total == 0, 1, total)
    return AxisTable(np.clip(indices, 0, size - 1), weights.astype(np.float32), outside)


def _coordinates(mode: str, geometry: AxisGeometry) -> Array:
    """Where each output element lies on the input's axis, in input elements: (OUT,) float32."""
    f32 = np.float32
    out, size, scale = geometry.size_out, geometry.size_in, f32(geometry.scale)
    start, end = (f32(edge) for edge in geometry.roi)
    x = np.arange(out, dtype=f32)
    if mode == "tf_crop_and_resize":
        if out > 1:
            return start * f32(size - 1) + x * (end - start) * f32(size - 1) / f32(out - 1)
        return np.full(out, f32(0.5) * (start + end) * f32(size - 1), f32)
    if geometry.scale == 1 and out == size:
        return x
    if mode == "align_corners":
        return x * f32(size - 1) / f32(out - 1) if out > 1 else np.zeros(out, f32)
    if mode == "asymmetric":
        return x / scale
    if mode == "tf_half_pixel_for_nn":
        return (x + f32(0.5)) / scale
    if mode == "pytorch_half_pixel" and out == 1:
        return np.zeros(out, f32)
    centred = (x + f32(0.5)) / scale
    if mode == "half_pixel_symmetric":
        # the output was rounded down to whole elements: share what is lost between both ends
        centred = f32(size) / f32(2) * (f32(1) - f32(out) / (scale * f32(size))) + centred
    return centred - f32(0.5)


def _nearest(mode: str, at: Array) -> Array:
    """The nearest whole coordinate: (OUT,) int64."""
    if mode == "round_prefer_floor":
        chosen = np.ceil(at - np.float32(0.5))
    elif mode == "round_prefer_ceil":
        chosen = np.floor(at + np.float32(0.5))
    else:
        chosen = np.floor(at) if mode == "floor" else np.ceil(at)
    return chosen.astype(np.int64)


def _cubic(distance: Array, a: float) -> Array:
    """Keys' cubic convolution kernel."""
    d = distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weights: Array = np.where(d <= 1, near, np.where(d < 2, far, 0))
    return weights


def resize_geometry(
    attrs: ResizeAttrs, shape: tuple[int, ...], roi: Array | None, scales: Array | None, sizes: Array | None
) -> tuple[AxisGeometry, ...]:
    """The axes that have elements, which may be resized. Arrays that are absent are None or empty.

    An axis without elements stays as it is: its scale is 1, or its size 0.

    raise : ShapeError unless exactly one of scales and sizes is given, with one positive number per axis that has elements
    """
    axes = [checks.axis_of(axis, len(shape)) for axis in attrs.axes] or list(range(len(shape)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"expected axes that differ, got {checks.show(attrs.axes)}; check the model")
    scales, sizes, roi = (None if a is None or a.size == 0 else a for a in (scales, sizes, roi))
    given, name = (scales, "scales") if sizes is None else (sizes, "sizes")
    if given is None or (scales is not None and sizes is not None):
        raise ShapeError(f"expected either scales or sizes, got {'none' if given is None else 'both'}; check the model")
    empty = np.array([shape[axis] == 0 for axis in axes], bool)
    idle = empty & (given == (1 if sizes is None else 0)) if given.shape == (len(axes),) else empty
    if given.shape != (len(axes),) or not np.all(np.isfinite(given)) or np.any((given <= 0) & ~idle):
        raise ShapeError(f"expected {len(axes)} positive {name}, one per axis, got {given.tolist()}; check the model")
    windows = [(0.0, 1.0)] * len(axes)
    if attrs.coordinate_transformation_mode == "tf_crop_and_resize":
        if roi is None or roi.shape != (2 * len(axes),) or not np.all(np.isfinite(roi)):
            raise ShapeError(f"expected roi of {2 * len(axes)} finite numbers, got {roi}; tf_crop_and_resize needs it")
        windows = list(zip(map(float, roi[: len(axes)]), map(float, roi[len(axes) :]), strict=True))
    if np.any(empty & ~idle):
        raise ShapeError(f"expected an input with elements along the resized axes, got {checks.show(shape)}")
    found = []
    factors: Array = np.asarray(given, np.float32)
    if sizes is not None:
        factors = factors / np.array([max(shape[axis], 1) for axis in axes], np.float32)
        if attrs.keep_aspect_ratio_policy != "stretch" and not idle.all():
            choose = np.min if attrs.keep_aspect_ratio_policy == "not_larger" else np.max
            factors = np.full_like(factors, choose(factors[~idle]))
    for i, axis in enumerate(axes):
        if idle[i]:
            continue
        with np.errstate(over="ignore"):
            reached = factors[i] * np.float32(shape[axis])
        if not np.isfinite(reached):
            raise ShapeError(f"expected {name} of an image that fits in memory, got {given.tolist()}; check the model")
        if sizes is None:
            size = int(reached)
        elif attrs.keep_aspect_ratio_policy == "stretch":
            size = int(sizes[i])
        else:
            size = int(reached + np.float32(0.5))
        if size < 1:
            raise ShapeError(f"expected an output with elements, got none along axis {axis}; use larger {name}")
        found.append(AxisGeometry(axis, shape[axis], size, float(factors[i]), windows[i]))
    return tuple(found)


def _infer(attrs: ResizeAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "X")
    for name, value, allowed in (
        ("mode", attrs.mode, MODES),
        ("coordinate_transformation_mode", attrs.coordinate_transformation_mode, COORDINATES),
        ("nearest_mode", attrs.nearest_mode, NEAREST),
        ("keep_aspect_ratio_policy", attrs.keep_aspect_ratio_policy, POLICIES),
    ):
        if value not in allowed:
            raise ShapeError(f"expected {name} to be one of {', '.join(allowed)}, got {value!r}; check the model")
    if attrs.mode != "nearest":
        checks.one_of("the input", x, (*checks.FLOATS, "int8", "uint8", "int32"))
    roi, scales, sizes = (checks.known(values, i) for i in (1, 2, 3))
    shape = list(x.dims)
    for geometry in resize_geometry(attrs, x.dims, roi, scales, sizes):
        shape[geometry.axis] = geometry.size_out
    return (checks.tensor(shape, x.dtype),)


def resize(
    attrs: ResizeAttrs, x: Array, roi: Array | None = None, scales: Array | None = None, sizes: Array | None = None
) -> tuple[Array]:
    """Resample along the axes that change. Any shape, any axis order.

    roi    : (2 * AXES,) float, begins then ends, 0 to 1 of the input (tf_crop_and_resize alone)
    scales : (AXES,) float, or sizes: (AXES,) int64
    source : ONNX Resize-19
    """
    y: Array = x if attrs.mode == "nearest" else x.astype(np.result_type(x, np.float32), copy=False)
    outside = np.zeros((1,) * x.ndim, bool)
    for geometry in resize_geometry(attrs, x.shape, roi, scales, sizes):
        table = axis_table(attrs, geometry)
        along = (1,) * geometry.axis + (-1,) + (1,) * (x.ndim - geometry.axis - 1)
        if is_identity(table, geometry):
            continue
        if attrs.mode == "nearest":
            y = y.take(table.indices[:, 0], axis=geometry.axis)
        else:
            before, y = y, np.zeros((), y.dtype)
            for index, weight in zip(table.indices.T, table.weights.T, strict=True):
                y = y + before.take(index, axis=geometry.axis) * weight.reshape(along)
        outside = outside | table.outside.reshape(along)
    if outside.any():
        y = np.where(outside, np.array(attrs.extrapolation_value, y.dtype), y)
    return (y.astype(x.dtype, copy=False),)


def is_identity(table: AxisTable, geometry: AxisGeometry) -> bool:
    """Whether the axis comes out as it goes in."""
    if geometry.size_in != geometry.size_out or table.outside.any():
        return False
    own = table.indices == np.arange(geometry.size_in)[:, None]
    return bool(np.all(np.where(own, table.weights, 0).sum(axis=1) == 1) and np.all(own | (table.weights == 0)))


def _macs(attrs: ResizeAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    """Those of the output's elements: the product of taps over the axes that change (antialiasing left aside)."""
    taps = {"nearest": 0, "linear": 2, "cubic": 4}[attrs.mode]
    before = checks.given(specs, 0, "X").dims
    changed = sum(a != b for a, b in zip(before, outputs[0].dims, strict=True))
    return outputs[0].size * taps**changed if changed else 0


register(Op("Resize", _infer, resize, ResizeAttrs, (1, 4), _macs, static_inputs=(1, 2, 3), is_view=True, rank=first))
