"""GridSample: values of an image at places that a grid names, and its gradient. Images are channels last.

Along one axis a place takes a weighted sum of a few elements; weights of several axes multiply.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import ChannelsLast, first

MODES = {"nearest": 1, "linear": 2, "cubic": 4}  # elements along one axis
PADDINGS = ("zeros", "border", "reflection")
CUBIC_A = -0.75  # of Keys' cubic convolution (1981), as ONNX fixes it


@frozen
class GridSampleAttrs:
    """ONNX's attributes, the modes by their names of opset 20."""

    align_corners: int = 0
    mode: str = "linear"
    padding_mode: str = "zeros"


def _infer(attrs: GridSampleAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x, grid = checks.given(specs, 0, "X", dtypes=checks.FLOATS), checks.given(specs, 1, "grid", dtypes=checks.FLOATS)
    checks.choice(attrs.mode, tuple(MODES), "mode")
    checks.choice(attrs.padding_mode, PADDINGS, "padding_mode")
    axes = len(checks.spatial(x))
    if len(grid.dims) != axes + 2 or grid.dims[0] != x.dims[0] or grid.dims[-1] != axes:
        raise ShapeError(
            f"expected a grid ({x.dims[0]}, {axes} sizes, {axes}) for {x}, got {checks.show(grid.dims)}; check the model"
        )
    if 0 in x.dims[1:-1]:
        raise ShapeError(f"expected an image with elements, got {x}; check the model")
    return (checks.tensor((*grid.dims[:-1], x.dims[-1]), x.dtype),)


def _reflected(at: Array, low: float, high: float) -> tuple[Array, Array]:
    """Places inside [low, high], reflected as often as it takes, and the slope there: 1 or -1."""
    span = high - low
    if span == 0:
        return np.full_like(at, low), np.zeros_like(at)
    period = np.mod(at - low, 2 * span)
    return low + np.where(period > span, 2 * span - period, period), np.where(period > span, -1, 1).astype(at.dtype)


def _weights(mode: str, part: Array) -> tuple[Array, Array]:
    """Weights of the elements around a place, and their slopes, (..., TAPS).

    part : (...), 0 to 1: how far the place is from the last element before it
    """
    if mode == "nearest":
        return np.ones((*part.shape, 1), part.dtype), np.zeros((*part.shape, 1), part.dtype)
    if mode == "linear":
        one = np.ones_like(part)
        return np.stack([1 - part, part], axis=-1), np.stack([-one, one], axis=-1)
    a = CUBIC_A
    t = np.stack([part + 1, part, 1 - part, 2 - part], axis=-1)
    near, sign = [False, True, True, False], np.array([1, 1, -1, -1], part.dtype)
    inner, outer = ((a + 2) * t - (a + 3)) * t * t + 1, ((t - 5) * t + 8) * t * a - 4 * a
    d_inner, d_outer = (3 * (a + 2) * t - 2 * (a + 3)) * t, ((3 * t - 10) * t + 8) * a
    return np.where(near, inner, outer), np.where(near, d_inner, d_outer) * sign


def _axis(attrs: GridSampleAttrs, places: Array, size: int) -> tuple[Array, Array, Array]:
    """Elements along one axis for places from -1 to 1: indices, weights, and the weights' slopes: (..., TAPS)."""
    half = places.dtype.type((size - 1) / 2 if attrs.align_corners else size / 2)
    low, high = (0.0, size - 1.0) if attrs.align_corners else (-0.5, size - 0.5)
    at = (places + 1) * half - places.dtype.type(0 if attrs.align_corners else 0.5)
    at = np.where(np.isfinite(at), at, places.dtype.type(-2 if attrs.padding_mode == "zeros" else 0))
    at = np.rint(at) if attrs.mode == "nearest" else at
    slope = np.full_like(at, half)
    if attrs.padding_mode == "border" and attrs.mode != "cubic":  # whose elements are cut off at the border one by one
        outside = (at < 0) | (at > size - 1)
        at, slope = np.clip(at, 0, size - 1), np.where(outside, 0, slope)
    elif attrs.padding_mode == "reflection":
        at, sign = _reflected(at, low, high)
        slope = slope * sign
    at = np.clip(np.rint(at) if attrs.mode == "nearest" else at, -4, size + 3)  # farther out nothing changes
    start = np.floor(at)
    weights, slopes = _weights(attrs.mode, at - start)
    index = start[..., None] + np.arange(weights.shape[-1]) - (1 if attrs.mode == "cubic" else 0)
    if attrs.padding_mode == "reflection":
        index = _reflected(index, low, high)[0]
    elif attrs.padding_mode == "zeros":
        inside = (index >= 0) & (index <= size - 1)
        weights, slopes = weights * inside, slopes * inside
    return np.clip(np.rint(index), 0, size - 1).astype(np.int64), weights, slopes * slope[..., None]


def _axes(attrs: GridSampleAttrs, grid: Array, spatial: Sequence[int]) -> list[tuple[Array, Array, Array]]:
    """Of each spatial axis; the grid names the last axis first."""
    wide = grid.astype(np.float32) if grid.dtype == np.float16 else grid
    return [_axis(attrs, wide[..., len(spatial) - 1 - i], size) for i, size in enumerate(spatial)]


def _taps(axes: list[tuple[Array, Array, Array]], spatial: Sequence[int]) -> Iterator[tuple[Array, tuple[int, ...]]]:
    """For each combination of taps: flat numbers of elements in their image, and the taps."""
    for taps in itertools.product(*(range(weights.shape[-1]) for _, weights, _ in axes)):
        flat = np.zeros(axes[0][0].shape[:-1], np.int64)
        for (index, _, _), tap, size in zip(axes, taps, spatial, strict=True):
            flat = flat * size + index[..., tap]
        yield flat, taps


def _product(axes: list[tuple[Array, Array, Array]], taps: tuple[int, ...], sloped: int = -1) -> Array:
    """The weight of a tap in all axes; of one axis its slope instead."""
    total = np.ones((), axes[0][1].dtype)
    for number, ((_, weights, slopes), tap) in enumerate(zip(axes, taps, strict=True)):
        total = total * (slopes if number == sloped else weights)[..., tap]
    return np.asarray(total)


def grid_sample(attrs: GridSampleAttrs, x: Array, grid: Array) -> tuple[Array]:
    """Values at places; -1 and 1 are the image's edges, or the middles of its outermost elements with align_corners.

    x      : (N, *spatial, C)
    grid   : (N, *out, axes), the last axis first
    return : (N, *out, C)
    source : ONNX GridSample-22, channels last; Jaderberg et al., Spatial Transformer Networks, 2015
    """
    spatial, c = x.shape[1:-1], x.shape[-1]
    axes = _axes(attrs, grid, spatial)
    image = np.arange(x.shape[0]).reshape(-1, *[1] * len(spatial))
    rows = x.reshape(x.shape[0], math.prod(spatial), c)
    dtype = np.result_type(x, np.float32)
    y = np.zeros((*grid.shape[:-1], c), dtype)
    for flat, taps in _taps(axes, spatial):
        y += rows[image, flat] * _product(axes, taps)[..., None].astype(dtype)
    return (y.astype(x.dtype),)


def _infer_grad(attrs: GridSampleAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x, grid = checks.given(specs, 1, "X"), checks.given(specs, 2, "grid")
    if _infer(attrs, [x, grid], [None, None])[0] != checks.given(specs, 0, "dY"):
        raise ShapeError(f"expected dY as the output, got {specs[0]}; check the graph")
    return x, grid


def grid_sample_grad(attrs: GridSampleAttrs, grad_y: Array, x: Array, grid: Array) -> tuple[Array, Array]:
    """Gradients of image and grid: each element gets what was made of it, each place how the sum changes when it moves.

    grad_y  : (N, *out, C)
    x, grid : as in `grid_sample`
    return  : grad_x (N, *spatial, C), grad_grid (N, *out, axes)
    """
    spatial, c = x.shape[1:-1], x.shape[-1]
    axes = _axes(attrs, grid, spatial)
    image = np.broadcast_to(np.arange(x.shape[0]).reshape(-1, *[1] * len(spatial)), grid.shape[:-1])
    rows = x.reshape(x.shape[0], math.prod(spatial), c)
    grad_x, grad_grid = np.zeros(rows.shape, grad_y.dtype), np.zeros(grid.shape, grad_y.dtype)
    for flat, taps in _taps(axes, spatial):
        np.add.at(grad_x, (image, flat), grad_y * _product(axes, taps)[..., None].astype(grad_y.dtype))
        dot = np.einsum("...c,...c->...", rows[image, flat], grad_y)
        for axis in range(len(spatial)):
            grad_grid[..., len(spatial) - 1 - axis] += dot * _product(axes, taps, sloped=axis)
    return grad_x.reshape(x.shape).astype(x.dtype), grad_grid.astype(grid.dtype)


def _macs(attrs: GridSampleAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    taps: int = MODES[attrs.mode] ** len(checks.given(specs, 0).dims[1:-1])
    return outputs[0].size * taps


register(
    Op(
        "GridSample",
        _infer,
        grid_sample,
        GridSampleAttrs,
        n_inputs=(2, 2),
        macs=_macs,
        channels_last=ChannelsLast(),
        rank=first,
    ),
    Op("GridSampleGrad", _infer_grad, grid_sample_grad, GridSampleAttrs, n_inputs=(3, 3)),
)
