"""Ops that move elements or repeat them: shapes, slices, pads, resizing. Shapes and indices are NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.torch_ops.resize import resize

Attrs, Values = dict[str, Any], list[Any]
FAR = 1 << 30  # exporters write the largest integer for "to the end"


def _slice(module: torch.nn.Module, a: Attrs, v: Values) -> Any:
    x, starts, ends = v[:3]
    axes = v[3] if len(v) > 3 and v[3] is not None else range(len(starts))
    steps = v[4] if len(v) > 4 and v[4] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index = range(x.shape[int(axis)])[int(start) : max(min(int(end), FAR), -FAR) : int(step)]
        if isinstance(x, Tensor):
            if step == 1:
                x = x.narrow(int(axis), index.start, len(index))
            else:
                x = x.index_select(int(axis), torch.tensor(list(index), dtype=torch.int64))
        else:
            x = x.take(list(index), int(axis))
    return x


def _concat(module: torch.nn.Module, a: Attrs, v: Values) -> Any:
    if isinstance(v[0], Tensor):
        return torch.cat(v, a["axis"])
    return np.concatenate(v, a["axis"])


def _split(module: torch.nn.Module, a: Attrs, v: Values) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    if len(v) > 1 and v[1] is not None:
        return torch.split(v[0], [int(n) for n in v[1]], axis)
    size = -(-v[0].shape[axis] // a["num_outputs"])
    return torch.split(v[0], size, axis)


def _reshape(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    shape = [v[0].shape[i] if int(d) == 0 else int(d) for i, d in enumerate(v[1])]
    result: Tensor = v[0].reshape(shape)
    return result


def _squeeze(module: torch.nn.Module, a: Attrs, v: Values) -> Any:
    axes = tuple(a["axes"]) if "axes" in a else tuple(int(i) for i in v[1])
    return v[0].squeeze(axes)


def _unsqueeze(module: torch.nn.Module, a: Attrs, v: Values) -> Any:
    axes = [int(i) for i in (a["axes"] if "axes" in a else v[1])]
    rank, x = v[0].ndim + len(axes), v[0]
    for axis in sorted(i % rank for i in axes):
        x = x.unsqueeze(axis) if isinstance(x, Tensor) else np.expand_dims(x, axis)
    return x


def _pad(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """Pad, one axis at a time, as a choice among the old pixels; a negative pad cuts."""
    x, pads = v[0], [int(p) for p in v[1]]
    value = float(v[2]) if len(v) > 2 and v[2] is not None else 0.0
    axes = [int(i) for i in v[3]] if len(v) > 3 and v[3] is not None else range(x.ndim)
    mode = a.get("mode", b"constant")
    for i, axis in enumerate(axes):
        begin, end, n = pads[i], pads[len(pads) // 2 + i], x.shape[axis]
        if not begin and not end:
            continue
        at = np.arange(-begin, n + end)
        inside = torch.as_tensor((at >= 0) & (at < n))
        if mode != b"constant":
            kept = np.arange(n)[max(-begin, 0) : n - max(-end, 0)]
            at = np.pad(kept, (max(begin, 0), max(end, 0)), mode.decode())
        x = x.index_select(axis, torch.as_tensor(at.clip(0, n - 1)))
        if mode == b"constant":
            shape = [1] * x.ndim
            shape[axis] = len(at)
            x = torch.where(inside.reshape(shape), x, torch.tensor(value, dtype=x.dtype))
    return x


def _depth_to_space(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    (n, c, h, w), b = v[0].shape, a["blocksize"]
    if a.get("mode", b"DCR") == b"DCR":
        x = v[0].reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = v[0].reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    (n, c, h, w), b = v[0].shape, a["blocksize"]
    x = v[0].reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * b * b, h // b, w // b)


def _transpose(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    return v[0].permute(*a.get("perm", range(v[0].ndim)[::-1]))


def _flatten(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    axis = a.get("axis", 1)
    return torch.flatten(v[0], 1) if axis == 1 else v[0].reshape(int(np.prod(v[0].shape[:axis])), -1)


def _expand(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    return v[0].expand(np.broadcast_shapes(v[0].shape, tuple(int(d) for d in v[1])))


RUN: dict[str, Callable[..., Any]] = {
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Pad": _pad,
    "Resize": resize,
    "Expand": _expand,
    "Tile": lambda m, a, v: v[0].repeat(*(int(n) for n in v[1])),
    "Where": lambda m, a, v: torch.where(torch.tensor(v[0]), v[1], v[2]),
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
