"""Softmax and LogSoftmax over an axis that others follow, as transposes around one over the last axis."""

from __future__ import annotations

import math

from alula.runtime.ops.checks import given
from alula.runtime.planning.expansion import Expansion, expands


@expands("Softmax", "LogSoftmax")
def softmax_over_the_last_axis(parts: Expansion) -> str | None:
    """The kernel reads rows."""
    dims = given(parts.specs, 0).dims
    axis = parts.node.attrs.axis % max(len(dims), 1)
    if math.prod(dims[axis + 1 :]) in (0, 1) or parts.node.fused:
        return None
    perm = [*(other for other in range(len(dims)) if other != axis), axis]
    back = sorted(range(len(dims)), key=perm.__getitem__)
    x = parts.add("Transpose", parts.node.inputs[0], perm=perm)
    return parts.add("Transpose", parts.add(parts.node.op, x, axis=-1), perm=back)
