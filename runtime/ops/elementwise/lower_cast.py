"""Cast: one loop per pair of element types. Identity and Dropout keep the bytes."""

from __future__ import annotations

from alula.runtime.graph import Node
from alula.runtime.ops.elementwise import kernel_cast as kernels
from alula.runtime.ops.movement.lower import lower_alias
from alula.runtime.planning.lowering import Lowering, Ref, lowers

SOURCES = {
    "float32": kernels.f32_cast, "int32": kernels.s32_cast, "int64": kernels.s64_cast, "uint8": kernels.u8_cast,
    "bool": kernels.u8_cast, "int8": kernels.s8_cast,
}  # fmt: skip
TARGETS = {
    "float32": kernels.FLOAT32, "int32": kernels.INT32, "int64": kernels.INT64, "uint8": kernels.BYTE, "int8": kernels.BYTE,
    "bool": kernels.BOOL, "float16": kernels.FLOAT16,
}  # fmt: skip

lowers("Identity", "Dropout")(lower_alias)


@lowers("Cast")
def lower_cast(lowering: Lowering, node: Node) -> bool:
    """Cast between float32, int32, int64, uint8, int8 and bool, and between float32 and float16."""
    spec, to = lowering.spec(node.inputs[0]), node.attrs.to
    if spec.dtype == to:
        return lower_alias(lowering, node)
    if not castable(spec.dtype, to):
        return False
    if spec.size:
        emit_cast(lowering, lowering.ref(node.inputs[0]), lowering.ref(node.outputs[0]), spec.size, spec.dtype, to)
    return True


def castable(dtype: str, to: str) -> bool:
    """Whether there is a kernel for it."""
    if "float16" in (dtype, to):
        return "float32" in (dtype, to)
    return dtype in SOURCES and to in TARGETS


def emit_cast(lowering: Lowering, x: Ref, y: Ref, n: int, dtype: str, to: str) -> None:
    """Cast n elements."""
    if dtype == "float16":
        lowering.emit(kernels.f16_cast, x=x, y=y, n=n)
    else:
        lowering.emit(SOURCES[dtype], x=x, y=y, n=n, to=TARGETS[to])
