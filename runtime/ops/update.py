"""Optimiser steps: flat loops over a variable's storage. Outputs take over the memory of what they renew."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register


@frozen
class SGDUpdateAttrs:
    """Constants of the optimiser."""

    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: int = 0


def _infer(attrs: SGDUpdateAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    w = checks.given(specs, 0, "w")
    for i, name in ((1, "gradient"), (2, "momentum")):
        spec = checks.optional(specs, i)
        if spec is not None and spec != w:
            raise ShapeError(f"expected the {name} {w} as the weight, got {spec}; check the graph")
    return (w, w) if specs[2] is not None else (w,)


def sgd_update(
    attrs: SGDUpdateAttrs, w: Array, gradient: Array, buffer: Array | None, lr: Array, scale: Array
) -> tuple[Array, ...]:
    """g = scale * gradient + decay * w; v = momentum * v + g; w -= lr * (v, or g + momentum * v for Nesterov).

    w, gradient, buffer : any one shape
    lr, scale           : ()
    source              : torch.optim.SGD, dampening 0
    """
    g = gradient * scale + np.float32(attrs.weight_decay) * w
    if buffer is None:
        return ((w - lr * g).astype(w.dtype),)
    buffer = np.float32(attrs.momentum) * buffer + g
    step = g + np.float32(attrs.momentum) * buffer if attrs.nesterov else buffer
    return (w - lr * step).astype(w.dtype), buffer.astype(w.dtype)


register(Op("SGDUpdate", _infer, sgd_update, SGDUpdateAttrs, n_inputs=(5, 5), in_storage=True))
