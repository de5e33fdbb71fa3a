"""Pools over any number of spatial axes, channels last: (N, *spatial, C) to (N, *out, C)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register
from alula.runtime.ops.traits import ChannelsLast, first
from alula.runtime.ops.window import Window


@frozen
class MaxPoolAttrs:
    """ONNX's attributes. `storage_order` concerns Indices alone."""

    kernel_shape: tuple[int, ...]
    auto_pad: str = "NOTSET"
    ceil_mode: int = 0
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    storage_order: int = 0
    strides: tuple[int, ...] = ()


@frozen
class AveragePoolAttrs:
    """ONNX's attributes. `count_include_pad` divides by the window's size even where it covers padding."""

    kernel_shape: tuple[int, ...]
    auto_pad: str = "NOTSET"
    ceil_mode: int = 0
    count_include_pad: int = 0
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()


def pool_window(attrs: MaxPoolAttrs | AveragePoolAttrs, x_shape: tuple[int, ...]) -> Window:
    """The geometry of a pool.

    raise : ShapeError if a window could lie in padding alone
    """
    spatial = x_shape[1:-1]
    if len(attrs.kernel_shape) != len(spatial):
        raise ShapeError(
            f"expected {len(spatial)} numbers in kernel_shape, got {len(attrs.kernel_shape)}; check the model"
        )
    window = Window.sliding(attrs, spatial, attrs.kernel_shape, bool(attrs.ceil_mode))
    for begin, end, extent in zip(window.pads_begin, window.pads_end, window.extent, strict=True):
        if max(begin, end) >= extent:
            raise ShapeError(
                f"expected pads smaller than the window {checks.show(window.extent)}, "
                f"got {checks.show(window.pads_begin + window.pads_end)}; put a Pad before the pool"
            )
    return window


def _infer_max_pool(attrs: MaxPoolAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "X")
    checks.spatial(x)
    checks.one_of("the input", x, (*checks.FLOATS, "int8", "uint8"))
    shape = (x.dims[0], *pool_window(attrs, x.dims).out, x.dims[-1])
    return checks.tensor(shape, x.dtype), checks.tensor(shape, "int64")


def max_pool(attrs: MaxPoolAttrs, x: Array) -> tuple[Array, Array]:
    """The largest pixel of each window, and where it is.

    x       : (N, *spatial, C)
    return  : (N, *out, C), and Indices int64 of the same shape
    Indices : as in ONNX, positions in the flattened (N, C, *spatial) tensor, the first of equal pixels;
              storage_order 1 counts the spatial axes from the first instead of from the last
    source  : ONNX MaxPool-12, channels last
    """
    window = pool_window(attrs, x.shape)
    n, *spatial, c = x.shape
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    # a padded pixel never wins over a real one, not even an equal one: its index is below zero
    where: Array = np.arange(math.prod(spatial))
    where = where.reshape(spatial[::-1]).T if attrs.storage_order else where.reshape(spatial)
    where = where[None, ..., None]
    padded, where = window.pad(x, lowest), window.pad(where, -1)
    shape = (n, *window.out, c)
    best = np.full(shape, lowest, x.dtype)
    index = np.full(shape, -1, np.int64)
    for tap in window.taps():
        pixels, at = padded[window.at(tap)], where[window.at(tap)]
        # written so that NaN wins, as in NumPy
        better = (at >= 0) & (~(pixels <= best) & ~np.isnan(best) | (index < 0))
        np.copyto(best, pixels, where=better)
        np.copyto(index, np.broadcast_to(at, shape), where=better)
    planes = np.arange(n)[:, None] * c + np.arange(c)  # (N, C)
    index += planes.reshape(n, *(1,) * len(spatial), c) * math.prod(spatial)
    return best, index


def _infer_average_pool(attrs: AveragePoolAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "X")
    checks.spatial(x)
    checks.one_of("the input", x, checks.FLOATS)
    return (checks.tensor((x.dims[0], *pool_window(attrs, x.dims).out, x.dims[-1]), x.dtype),)


def pixel_counts(window: Window, spatial: tuple[int, ...], include_pads: bool) -> Array:
    """By how much each window's sum is divided: (*out,) int64."""
    counts = np.ones((), np.int64)
    for axis, size in enumerate(spatial):
        counts = counts[..., None] * window.tap_counts(axis, size, include_pads)
    return counts


def average_pool(attrs: AveragePoolAttrs, x: Array) -> tuple[Array]:
    """The mean pixel of each window.

    x      : (N, *spatial, C)
    return : (N, *out, C)
    source : ONNX AveragePool-19, channels last
    """
    window = pool_window(attrs, x.shape)
    dtype = np.result_type(x, np.float32)
    padded = window.pad(x.astype(dtype, copy=False), 0)
    total = np.zeros((x.shape[0], *window.out, x.shape[-1]), dtype)
    for tap in window.taps():
        total += padded[window.at(tap)]
    counts = pixel_counts(window, x.shape[1:-1], bool(attrs.count_include_pad))
    return ((total / counts[..., None].astype(dtype)).astype(x.dtype, copy=False),)


def _infer_global(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "X")
    checks.one_of("the input", x, checks.FLOATS)
    sizes = checks.spatial(x)
    if min(sizes) < 1:
        raise ShapeError(f"expected an image with pixels, got {checks.show(x.dims)}; check the input")
    return (checks.tensor((x.dims[0], *(1 for _ in sizes), x.dims[-1]), x.dtype),)


def global_average_pool(attrs: NoAttrs, x: Array) -> tuple[Array]:
    """The mean of all pixels: (N, *spatial, C) to (N, 1, ..., C)."""
    axes = tuple(range(1, x.ndim - 1))
    return (x.mean(axis=axes, keepdims=True, dtype=np.result_type(x, np.float32)).astype(x.dtype, copy=False),)


def global_max_pool(attrs: NoAttrs, x: Array) -> tuple[Array]:
    """The largest of all pixels: (N, *spatial, C) to (N, 1, ..., C)."""
    return (x.max(axis=tuple(range(1, x.ndim - 1)), keepdims=True),)


def _global_macs(attrs: NoAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    return checks.given(specs, 0, "X").size


def _average_macs(attrs: AveragePoolAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    return outputs[0].size * math.prod(attrs.kernel_shape)


register(
    Op("MaxPool", _infer_max_pool, max_pool, MaxPoolAttrs, channels_last=ChannelsLast(outputs=(0, 1)), rank=first),
    Op(
        "AveragePool",
        _infer_average_pool,
        average_pool,
        AveragePoolAttrs,
        macs=_average_macs,
        channels_last=ChannelsLast(),
        rank=first,
    ),
    Op(
        "GlobalAveragePool",
        _infer_global,
        global_average_pool,
        macs=_global_macs,
        channels_last=ChannelsLast(),
        rank=first,
    ),
    Op("GlobalMaxPool", _infer_global, global_max_pool, channels_last=ChannelsLast(), rank=first),
)
