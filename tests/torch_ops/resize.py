"""Resize as ONNX describes it: along each axis a matrix of weights, and a product with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Attrs, Values = dict[str, Any], list[Any]


def _coordinates(mode: str, n: int, out: int, scale: float) -> np.ndarray[Any, Any]:
    """Where each output pixel lies in the input."""
    at = np.arange(out, dtype=np.float64)
    if mode == "asymmetric":
        return at / scale
    if mode == "align_corners":
        return at * (n - 1) / (out - 1) if out > 1 else 0 * at
    if mode == "pytorch_half_pixel" and out == 1:
        return 0 * at
    half = (at + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        return half + n / 2 * (1 - out / (scale * n))
    return half


def _nearest(mode: str, at: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if mode == "round_prefer_floor":
        return np.ceil(at - 0.5)
    if mode == "round_prefer_ceil":
        return np.floor(at + 0.5)
    return np.floor(at) if mode == "floor" else np.ceil(at)


def _matrix(a: Attrs, n: int, out: int, scale: float) -> np.ndarray[Any, Any]:
    """Weights (out, n)."""
    at = _coordinates(a.get("coordinate_transformation_mode", b"half_pixel").decode(), n, out, scale)
    weights, rows = np.zeros((out, n)), np.arange(out)
    if a.get("mode", b"nearest") == b"nearest":
        picked = _nearest(a.get("nearest_mode", b"round_prefer_floor").decode(), at)
        weights[rows, picked.clip(0, n - 1).astype(int)] = 1
        return weights
    low = np.floor(at)
    for index, share in ((low, 1 - (at - low)), (low + 1, at - low)):
        np.add.at(weights, (rows, index.clip(0, n - 1).astype(int)), share)
    return weights


def resize(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """Resize, nearest or linear, without antialiasing."""
    x = v[0]
    scales = v[2] if len(v) > 2 and v[2] is not None and len(v[2]) else None
    axes = a.get("axes", range(x.ndim))
    for i, axis in enumerate(axes):
        n = x.shape[axis]
        out = int(np.floor(n * float(scales[i]))) if scales is not None else int(v[3][i])
        scale = float(scales[i]) if scales is not None else out / n
        if out != n or scale != 1:
            weights = torch.as_tensor(_matrix(a, n, out, scale), dtype=x.dtype)
            x = torch.movedim(torch.movedim(x, axis, -1) @ weights.T, -1, axis)
    return x
