"""Windows over images: pads as ONNX means them, and pools with every attribute."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attrs, Values = dict[str, Any], list[Any]
MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def pads_of(
    a: Attrs, spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """The pads at the begin and at the end of each axis, whichever way they are given."""
    auto, rank = a.get("auto_pad", b"NOTSET"), len(spatial)
    if auto not in (b"SAME_UPPER", b"SAME_LOWER"):
        pads = a.get("pads", [0] * 2 * rank)
        return list(pads[:rank]), list(pads[rank:])
    begin, end = [], []
    for n, k, s, d in zip(spatial, kernel, strides, dilations):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        less, more = total // 2, -(-total // 2)
        begin.append(less if auto == b"SAME_UPPER" else more)
        end.append(total - begin[-1])
    return begin, end


def uneven(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """Pads in the order of torch.nn.functional.pad: the last axis first."""
    return [pad for pair in list(zip(begin, end))[::-1] for pad in pair]


def _taps(a: Attrs, x: Tensor, value: float) -> tuple[Tensor, Tensor]:
    """All taps of a pool's windows in front (K, N, C, *out), and how many pixels each window counts (*out)."""
    kernel, spatial = a["kernel_shape"], x.shape[2:]
    rank = len(kernel)
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    begin, end = pads_of(a, spatial, kernel, strides, dilations)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    out, behind = [], []
    for i, n in enumerate(spatial):
        room = n + begin[i] + end[i] - extent[i]
        count = (-(-room // strides[i]) if a.get("ceil_mode") else room // strides[i]) + 1
        if a.get("ceil_mode") and (count - 1) * strides[i] >= n + begin[i]:
            count -= 1
        out.append(count)
        behind.append(max((count - 1) * strides[i] + extent[i] - begin[i] - n, 0))
    inner = torch.ones(tuple(spatial), dtype=x.dtype)
    if a.get("count_include_pad"):
        inner = F.pad(inner, uneven(begin, end), value=1.0)
        seen = F.pad(inner, uneven([0] * rank, [max(b - e, 0) for b, e in zip(behind, end)]))
    else:
        seen = F.pad(inner, uneven(begin, behind))
    padded = F.pad(x, uneven(begin, behind), value=value)

    def tap(tensor: Tensor, at: tuple[int, ...]) -> Tensor:
        starts = [t * d for t, d in zip(at, dilations)]
        cut = [slice(start, start + (n - 1) * s + 1, s) for start, n, s in zip(starts, out, strides)]
        return tensor[(..., *cut)]

    places = list(itertools.product(*map(range, kernel)))
    counts = sum(tap(seen, at) for at in places)
    return torch.stack([tap(padded, at) for at in places]), counts


def _is_plain(a: Attrs, rank: int) -> bool:
    pads = a.get("pads", [0] * 2 * rank)
    half = all(2 * p <= k for p, k in zip(pads, a["kernel_shape"]))
    same = list(pads[:rank]) == list(pads[rank:])
    return same and half and not a.get("ceil_mode") and a.get("auto_pad", b"NOTSET") == b"NOTSET"


def max_pool(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """MaxPool: torch's where torch has these attributes."""
    rank = v[0].ndim - 2
    if _is_plain(a, rank):
        pads = tuple(a.get("pads", [0] * rank)[:rank])
        return MAX_POOL[rank](v[0], a["kernel_shape"], a.get("strides", 1), pads, a.get("dilations", 1))
    return _taps(a, v[0], -math.inf)[0].max(0).values


def average_pool(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """AveragePool: torch's where torch has these attributes."""
    rank = v[0].ndim - 2
    pads = a.get("pads", [0] * rank)
    plain = _is_plain(a, rank) and set(a.get("dilations", [1])) == {1}
    if plain and (not any(pads) or a.get("count_include_pad")):
        return AVERAGE_POOL[rank](v[0], a["kernel_shape"], a.get("strides", 1), tuple(pads[:rank]))
    taps, counts = _taps(a, v[0], 0.0)
    return taps.sum(0) / counts


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


RUN = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": lambda m, a, v: v[0].mean(_spatial(v[0]), keepdim=True),
    "GlobalMaxPool": lambda m, a, v: v[0].flatten(2).max(2).values.reshape(*v[0].shape[:2], *[1] * (v[0].ndim - 2)),
}
