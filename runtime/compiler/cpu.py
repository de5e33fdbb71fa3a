"""Which CPU this is, in LLVM's names, found without LLVM."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

X86_LEVELS = (  # newest first; the flags of the x86-64 psABI levels that tell them apart, as Linux names them
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ("x86-64-v3", {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}),
    ("x86-64-v2", {"sse4_1", "sse4_2", "ssse3", "popcnt"}),
)
ARM_PARTS = {"0xd03": "cortex-a53", "0xd08": "cortex-a72", "0xd0b": "cortex-a76"}


@cache
def host_cpu() -> str:
    """The LLVM name of this machine's CPU, as far as kernels care: `x86-64-v4`, `cortex-a72`..."""
    machine = os.uname().machine.lower()
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        info = ""
    if machine in ("x86_64", "amd64"):
        flags = set(_field(info, "flags").split())
        return next((name for name, needs in X86_LEVELS if needs <= flags), "x86-64")
    if machine in ("arm64", "aarch64"):
        return ARM_PARTS.get(_field(info, "CPU part"), "apple-m1" if sys.platform == "darwin" else "generic")
    return "generic"


def triple(cpu: str) -> str:
    """The LLVM target triple of a CPU."""
    if cpu.startswith("apple"):
        return "arm64-apple-macosx11.0.0"
    arm = cpu.startswith(("cortex", "neoverse", "generic"))
    return "aarch64-unknown-linux-gnu" if arm else "x86_64-unknown-linux-gnu"


def features(cpu: str) -> str:
    """LLVM target features beyond those that the name implies."""
    # Kernels ask for full vectors themselves, and LLVM must not halve those of its own loops.
    return "-prefer-256-bit" if cpu in ("x86-64-v4", "skylake-avx512", "icelake-server", "sapphirerapids") else ""


def _field(info: str, key: str) -> str:
    for line in info.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
