"""Activations, arithmetic and reductions."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Attrs, Values = dict[str, Any], list[Any]


def _clip(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    low, high = (float(x) if x is not None else None for x in (*v[1:], None, None)[:2])
    return torch.clamp(v[0], low, high)


def _gelu(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    return F.gelu(v[0], approximate=a.get("approximate", b"none").decode())


def _prelu(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    return torch.where(v[0] < 0, v[0] * v[1], v[0])


def _reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
        axes = a["axes"] if "axes" in a else v[1] if len(v) > 1 and v[1] is not None else range(v[0].ndim)
        return function(v[0], tuple(int(i) for i in axes), keepdim=bool(a.get("keepdims", 1)))

    return run


def _sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


RUN: dict[str, Callable[..., Any]] = {
    "Relu": lambda m, a, v: F.relu(v[0]),
    "LeakyRelu": lambda m, a, v: F.leaky_relu(v[0], a.get("alpha", 0.01)),
    "PRelu": _prelu,
    "Sigmoid": lambda m, a, v: torch.sigmoid(v[0]),
    "HardSigmoid": lambda m, a, v: torch.clamp(v[0] * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1),
    "HardSwish": lambda m, a, v: v[0] * torch.clamp(v[0] / 6 + 0.5, 0, 1),
    "Tanh": lambda m, a, v: torch.tanh(v[0]),
    "Elu": lambda m, a, v: F.elu(v[0], a.get("alpha", 1.0)),
    "Softplus": lambda m, a, v: F.softplus(v[0], threshold=100.0),
    "Gelu": _gelu,
    "Erf": lambda m, a, v: torch.erf(v[0]),
    "Mish": lambda m, a, v: F.mish(v[0]),
    "Clip": _clip,
    "Softmax": lambda m, a, v: torch.softmax(v[0], a.get("axis", -1)),
    "LogSoftmax": lambda m, a, v: torch.log_softmax(v[0], a.get("axis", -1)),
    "Add": lambda m, a, v: v[0] + v[1],
    "Sum": lambda m, a, v: reduce(torch.add, v),
    "Sub": lambda m, a, v: v[0] - v[1],
    "Mul": lambda m, a, v: v[0] * v[1],
    "Div": lambda m, a, v: v[0] / v[1],
    "Pow": lambda m, a, v: v[0] ** v[1],
    "Max": lambda m, a, v: reduce(torch.maximum, v),
    "Min": lambda m, a, v: reduce(torch.minimum, v),
    "Sqrt": lambda m, a, v: torch.sqrt(v[0]),
    "Exp": lambda m, a, v: torch.exp(v[0]),
    "Log": lambda m, a, v: torch.log(v[0]),
    "Abs": lambda m, a, v: torch.abs(v[0]),
    "Neg": lambda m, a, v: -v[0],
    "Reciprocal": lambda m, a, v: 1 / v[0],
    "Identity": lambda m, a, v: v[0],
    "Cast": lambda m, a, v: v[0],
    "Dropout": lambda m, a, v: v[0],
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "ReduceL2": _reduce(lambda x, axes, keepdim: torch.sqrt((x * x).sum(axes, keepdim=keepdim))),
    "Shape": lambda m, a, v: np.array(v[0].shape, np.int64),
}
