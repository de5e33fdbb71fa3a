"""The loops: one file a family, with the same names as in `ops/`. Written in the dialect of `lang.py`."""

import importlib

from alula.runtime.kernels.lang import KERNELS, Kernel

FAMILIES = (
    "vm",
    "conv",
    "winograd",
    "depthwise",
    "conv_gradient",
    "depthwise_gradient",
    "turn_panels",
    "point_gradient",
    "winograd_weights",
    "winograd_gradient",
    "matmul",
    "elementwise",
    "movement",
    "reduce",
    "pool",
    "pool_gradient",
    "resize",
    "normalization",
    "batch_norm",
    "normalization_gradient",
    "recurrent",
    "select",
    "cast",
    "gather",
    "quantize",
    "s8_conv",
    "huffman",
    "loss",
    "update",
    "calibrate",
)


def all_kernels() -> dict[str, Kernel]:
    """Every kernel, by name."""
    for family in FAMILIES:
        importlib.import_module(f"alula.runtime.kernels.{family}")
    return KERNELS
