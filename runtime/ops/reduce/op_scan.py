"""Running sums along an axis."""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import axis_of, given, known_integers, show
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.reduce.op import SUMMABLE
from alula.runtime.ops.traits import first


@frozen
class CumSumAttrs:
    """exclusive : 1 leaves the element itself out of its sum. reverse : 1 sums from the end"""

    exclusive: int = 0
    reverse: int = 0


def infer_cum_sum(attrs: CumSumAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """The input's spec."""
    x, axis = given(specs, 0, dtypes=SUMMABLE), known_integers(values, 1, "axis")
    if len(axis) != 1:
        raise ShapeError(f"expected one axis, got {show(axis)}; correct the model")
    axis_of(axis[0], len(x.dims))
    return (x,)


def cum_sum(attrs: CumSumAttrs, x: Array, axis: Array) -> tuple[Array, ...]:
    """y[i] = x[0] + ... + x[i], in float64 for floats, and rounded once."""
    along = int(axis.reshape(())) % x.ndim
    line = np.flip(x, along) if attrs.reverse else x
    total = np.cumsum(line, along, dtype=np.float64 if x.dtype.kind == "f" else x.dtype)
    if attrs.exclusive:
        total = np.roll(total, 1, along)
        total[(*(slice(None),) * along, slice(0, 1))] = 0
    return (np.ascontiguousarray(np.flip(total, along) if attrs.reverse else total).astype(x.dtype),)


register(Op("CumSum", infer_cum_sum, cum_sum, CumSumAttrs, n_inputs=(2, 2), static_inputs=(1,), rank=first))
