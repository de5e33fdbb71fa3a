"""Branch: the two flags of an ONNX If. The importer writes the nodes of both branches into the graph, each under its flag.

Under a guard of its own (an If in a branch), a Branch is 0, 0 otherwise: then neither of its branches runs, so its flags
imply its guard. `Graph` relies on that, and on one of them being set where the Branch runs.
"""

from __future__ import annotations

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.checks import BOOL, given, show
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register


def infer_branch(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Two flags."""
    condition = given(specs, 0, "condition", BOOL)
    if condition.size != 1:
        raise ShapeError(f"expected a condition of one element, got {show(condition.dims)}; reduce it")
    return (TensorSpec((), "int64"), TensorSpec((), "int64"))


def reference_branch(attrs: NoAttrs, condition: Array) -> tuple[Array, ...]:
    """1, 0 where the condition is true, 0, 1 where it is not."""
    taken = bool(condition.any())
    return (np.array(int(taken), np.int64), np.array(int(not taken), np.int64))


register(Op("Branch", infer_branch, reference_branch))
