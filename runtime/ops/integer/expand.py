"""MatMulInteger with a constant B: a convolution of codes whose kernel is one pixel, which has a kernel."""

from __future__ import annotations

import math

from alula.runtime.planning.expansion import Expansion, expands


@expands("MatMulInteger")
def matmul_integer(parts: Expansion) -> str | None:
    """Rows of A as pixels (1, M, K). A's zero point leaves the sums afterwards if it is only known at run time."""
    a, b, a_zero, b_zero = (*parts.node.inputs, "", "")[:4]
    (a_spec, b_spec), zeros = parts.specs[:2], (*parts.specs[2:], None, None)[:2]
    assert a_spec is not None and b_spec is not None
    if len(b_spec.dims) != 2 or len(a_spec.dims) < 2 or b not in parts.known or 0 in a_spec.dims or b_spec.size == 0:
        return None
    if (
        (b_zero and b_zero not in parts.known)
        or (zeros[0] and zeros[0].size != 1)
        or (zeros[1] and len(zeros[1].dims) > 1)
    ):
        return None
    (k, n), m = b_spec.dims, math.prod(a_spec.dims[:-1])
    filters = parts.reshaped(parts.add("Transpose", b, perm=(1, 0)), (n, 1, k))
    rows = parts.reshaped(a, (1, m, k))
    if not a_zero or a_zero in parts.known:
        zero = a_zero and parts.reshaped(a_zero, ())
        return parts.reshaped(
            parts.add("ConvInteger", rows, filters, zero, *filter(None, (b_zero,))), (*a_spec.dims[:-1], n)
        )
    sums = parts.add("ConvInteger", rows, filters, "", *filter(None, (b_zero,)))
    wide = parts.add("Cast", b, to="int32")
    if b_zero:
        wide = parts.add("Sub", wide, parts.add("Cast", b_zero, to="int32"))
    columns = parts.add("ReduceSum", wide, parts.constant([0], "int64"), keepdims=0)
    share = parts.add("Mul", columns, parts.reshaped(parts.add("Cast", a_zero, to="int32"), ()))
    return parts.reshaped(parts.add("Sub", sums, share), (*a_spec.dims[:-1], n))
