"""What the kernels of all rooms share: their dialect (`lang.py`), SIMD generators, tiles, memory, the virtual machine."""

import importlib
from pathlib import Path

from alula.runtime.kernels.lang import KERNELS, Kernel

SHARED = ("vm", "reorder", "huffman", "boxes", "pixels", "peak")
ROOMS = Path(__file__).parent.parent / "ops"


def all_kernels() -> dict[str, Kernel]:
    """Every kernel, by name."""
    for name in SHARED:
        importlib.import_module(f"{__name__}.{name}")
    for path in sorted(ROOMS.glob("*/kernel*.py")):
        importlib.import_module(f"alula.runtime.ops.{path.parent.name}.{path.stem}")
    return KERNELS
