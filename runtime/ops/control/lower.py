"""The flags of a Branch: a cast of its condition, and of the opposite."""

from __future__ import annotations

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.ops.elementwise.lower_cast import emit_cast
from alula.runtime.ops.elementwise.lower_select import emit_logic
from alula.runtime.planning.lowering import Lowering, lowers


@lowers("Branch")
def lower_branch(lowering: Lowering, node: Node) -> bool:
    """Both flags, those that nothing reads included."""
    condition = lowering.ref(node.inputs[0])
    taken, other = (lowering.ref(name) for name in node.outputs)
    opposite = lowering.scratch(1)
    emit_cast(lowering, condition, taken, 1, "bool", "int64")
    emit_logic(lowering, "xor", condition, lowering.table(np.ones(1, np.uint8)), opposite, [1], [1, 0])
    emit_cast(lowering, opposite, other, 1, "bool", "int64")
    return True
