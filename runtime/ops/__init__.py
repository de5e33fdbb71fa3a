"""The ops: a room for each family, in which the same file names mean the same thing.

    op*.py        contracts: attributes, inference, reference, cost, traits
    lower*.py     which kernel runs an op, and with which arguments
    gradient*.py  how its backward pass is built
    kernel*.py    the loops, in the dialect of kernels/lang.py

A room is imported when one of its ops is first looked up; lowering and gradients when they are first asked for.
"""

from __future__ import annotations

from alula.runtime.ops.contract import REGISTRY, Op, find, infer

__all__ = ["REGISTRY", "Op", "find", "infer"]
