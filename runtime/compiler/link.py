"""Make one shared object of many objects, with whatever linker is at hand."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from alula.runtime.compiler import cpu as cpus
from alula.runtime.errors import CompilerError

EMULATION = {"aarch64": "aarch64linux", "x86_64": "elf_x86_64"}


def find_linker(cpu: str) -> list[str] | None:
    """The command of a linker for that CPU, or None. Only ELF systems have one here."""
    architecture = cpus.triple(cpu).partition("-")[0]
    if architecture not in EMULATION:
        return None
    native = platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64") == architecture
    for name in ["ld.lld", "ld"] if native else ["ld.lld", f"{architecture}-linux-gnu-ld"]:
        if path := shutil.which(name):
            return [path, "-m", EMULATION[architecture]] if name == "ld.lld" else [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "ld.lld", "-m", EMULATION[architecture]]
    return None


def link(linker: Sequence[str], objects: Sequence[Path], target: Path) -> None:
    """Link objects into a shared object, put in place in one step.

    raise : CompilerError with the linker's first words
    """
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    # 16 KiB pages: the Raspberry Pi 5's kernel has them
    command = [
        *linker,
        "-shared",
        "-z",
        "max-page-size=16384",
        "--build-id=none",
        "-o",
        str(temporary),
        *map(str, objects),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        temporary.unlink(missing_ok=True)
        reason = " ".join((result.stderr or result.stdout).split())[:300]
        raise CompilerError(
            f"linker {linker[0]}: expected a shared object, got: {reason}; try another linker (pip install ziglang)"
        )
    temporary.replace(target)
