"""The ops, one file a family. Importing this package registers them all."""

from __future__ import annotations

from alula.runtime.ops import (  # noqa: F401, registers
    activation,
    conv,
    elementwise,
    matmul,
    movement,
    normalization,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    shape,
    softmax,
)
from alula.runtime.ops.contract import REGISTRY, Op, find, infer

__all__ = ["REGISTRY", "Op", "find", "infer"]
