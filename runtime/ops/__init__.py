"""The ops, one file a family; `families.py` says which. A family is imported when one of its ops is first looked up."""

from __future__ import annotations

from alula.runtime.ops.contract import REGISTRY, Op, find, infer

__all__ = ["REGISTRY", "Op", "find", "infer"]
