"""Where a window lies on an image: the geometry of convolutions, transposed convolutions and pools, resolved once.

Attributes keep ONNX's meaning (`pads` lists the begins of all axes, then the ends); here `auto_pad` and
defaults are resolved and every number is fixed. Any spatial rank; axis i here is axis i + 1 of a channels-last tensor.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.graph import Array
from alula.runtime.ops.checks import show

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
Ints = tuple[int, ...]


class WindowAttrs(Protocol):
    """The attributes that ONNX's sliding-window ops share; an empty tuple means the default."""

    @property
    def auto_pad(self) -> str: ...
    @property
    def dilations(self) -> tuple[int, ...]: ...
    @property
    def pads(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Window:
    """One number per spatial axis. `out` is the output's spatial shape.

    Output position o reads, at tap t, input position o * stride - pad_begin + t * dilation. In a transposed
    convolution it is the input position that stands for o, and what is written that stands for what is read.
    """

    kernel: Ints
    strides: Ints
    dilations: Ints
    pads_begin: Ints
    pads_end: Ints
    out: Ints

    @classmethod
    def sliding(cls, attrs: WindowAttrs, spatial: Ints, kernel: Ints, ceil_mode: bool = False) -> Window:
        """The window of a convolution or a pool over an image of shape `spatial`.

        ceil_mode : let the last window hang over the end, unless it would start after the image

        raise : ShapeError on attributes of the wrong length or sign, or an image smaller than the window
        """
        strides, dilations, begin, end = _resolve(attrs, spatial, kernel)
        extent = _extent(kernel, dilations)
        out = []
        for i, size in enumerate(spatial):
            if attrs.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
                count = -(-size // strides[i])
                total = max((count - 1) * strides[i] + extent[i] - size, 0)
                begin[i], end[i] = _share(total, attrs.auto_pad == "SAME_UPPER")
            else:
                room = size + begin[i] + end[i] - extent[i]
                count = (-(-room // strides[i]) if ceil_mode else room // strides[i]) + 1
                if ceil_mode and (count - 1) * strides[i] >= size + begin[i]:
                    count -= 1
                if room < 0:
                    count = 0
            out.append(count)
        if min(out) < 1:
            padded = tuple(s + b + e for s, b, e in zip(spatial, begin, end, strict=True))
            raise ShapeError(
                f"expected a padded image of at least {show(extent)}, got {show(padded)}; "
                "the window does not fit: use a larger image"
            )
        return cls(kernel, strides, dilations, tuple(begin), tuple(end), tuple(out))

    @classmethod
    def transposed(
        cls, attrs: WindowAttrs, spatial: Ints, kernel: Ints, output_padding: Ints = (), output_shape: Ints = ()
    ) -> Window:
        """The window of a transposed convolution; `output_shape`, if given, decides the pads.

        raise : ShapeError on attributes of the wrong length or sign, or an output without pixels
        """
        strides, dilations, begin, end = _resolve(attrs, spatial, kernel)
        extra = _filled("output_padding", output_padding, len(spatial), 0, 0)
        extent = _extent(kernel, dilations)
        wanted = _filled("output_shape", output_shape, len(spatial), 1, 1) if output_shape else None
        if wanted is None and attrs.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            wanted = tuple(size * stride for size, stride in zip(spatial, strides, strict=True))
        out = []
        for i, size in enumerate(spatial):
            full = (size - 1) * strides[i] + extent[i] + extra[i]
            if wanted is None:
                out.append(full - begin[i] - end[i])
            else:
                out.append(wanted[i] if output_shape else min(wanted[i], full))  # a kernel shorter than the stride
                begin[i], end[i] = _share(max(full - wanted[i], 0), attrs.auto_pad == "SAME_UPPER")
        if min(out) < 1:
            raise ShapeError(f"expected an output with pixels, got {show(tuple(out))}; the pads are too large")
        return cls(kernel, strides, dilations, tuple(begin), tuple(end), tuple(out))

    @property
    def extent(self) -> Ints:
        """Size of the window, holes of the dilation included."""
        return _extent(self.kernel, self.dilations)

    @property
    def reach(self) -> Ints:
        """Size of the padded image that the windows cover, from the first pixel to the last."""
        return tuple((n - 1) * s + e for n, s, e in zip(self.out, self.strides, self.extent, strict=True))

    def taps(self) -> Iterator[Ints]:
        """Every position in the kernel, in its memory order."""
        return itertools.product(*map(range, self.kernel))

    def pad(self, x: Array, value: float | int) -> Array:
        """The image (N, *spatial, C), padded or cut to `reach`, so that each tap is a plain slice of it."""
        ends = [max(r - b - s, 0) for r, b, s in zip(self.reach, self.pads_begin, x.shape[1:-1], strict=True)]
        widths = [(0, 0), *zip(self.pads_begin, ends, strict=True), (0, 0)]
        return np.pad(x, widths, constant_values=value) if any(map(any, widths)) else x

    def at(self, tap: Ints, count: Ints | None = None) -> tuple[slice, ...]:
        """The slice of the padded image that a tap meets, one pixel per position (`count` of them, else `out`)."""
        slices = [slice(None)]
        for t, n, stride, dilation in zip(tap, count or self.out, self.strides, self.dilations, strict=True):
            start = t * dilation
            slices.append(slice(start, start + (n - 1) * stride + 1, stride))
        return (*slices, slice(None))

    def tap_counts(self, axis: int, size: int, include_pads: bool = False) -> Array:
        """How many taps of each window along one axis read a pixel: (OUT,) int64.

        include_pads : count padding too, but not what hangs over it in ceil_mode
        """
        begin, end = self.pads_begin[axis], self.pads_end[axis]
        low, high = (-begin, size + end) if include_pads else (0, size)
        starts = np.arange(self.out[axis])[:, None] * self.strides[axis] - begin
        at = starts + np.arange(self.kernel[axis]) * self.dilations[axis]  # (OUT, K)
        counts: Array = ((at >= low) & (at < high)).sum(axis=1)
        return counts


def _resolve(attrs: WindowAttrs, spatial: Ints, kernel: Ints) -> tuple[Ints, Ints, list[int], list[int]]:
    """Strides, dilations, pads at the begins and at the ends, defaults filled in."""
    rank = len(spatial)
    if attrs.auto_pad not in AUTO_PADS:
        raise ShapeError(
            f"expected auto_pad to be one of {', '.join(AUTO_PADS)}, got {attrs.auto_pad!r}; check the model"
        )
    _filled("kernel_shape", kernel, rank, 1, 1)
    strides = _filled("strides", attrs.strides, rank, 1, 1)
    dilations = _filled("dilations", attrs.dilations, rank, 1, 1)
    pads = _filled("pads", attrs.pads if attrs.auto_pad == "NOTSET" else (), 2 * rank, 0, 0)
    return strides, dilations, list(pads[:rank]), list(pads[rank:])


def _filled(name: str, values: Ints, count: int, default: int, least: int) -> Ints:
    if not values:
        return (default,) * count
    if len(values) != count:
        raise ShapeError(f"expected {count} {name}, got {len(values)}; check the model")
    if min(values) < least:
        raise ShapeError(f"expected {name} of at least {least}, got {show(values)}; check the model")
    return values


def _extent(kernel: Ints, dilations: Ints) -> Ints:
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))


def _share(total: int, more_at_end: bool) -> tuple[int, int]:
    """Split padding between begin and end; an odd one goes to the end for SAME_UPPER, else to the begin."""
    small, large = total // 2, total - total // 2
    return (small, large) if more_at_end else (large, small)
