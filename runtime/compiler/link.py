"""Link many objects into one shared object, with any linker that is installed, and check the result."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from alula.runtime.compiler.elf import MACHINES, read_shared_object
from alula.runtime.compiler.target import target
from alula.runtime.errors import CompilerError

EMULATION = {"aarch64": "aarch64linux", "x86_64": "elf_x86_64"}
PAGE_SIZE = 16384  # the kernel of the Raspberry Pi 5 has pages of 16 KiB
OPTIONS = (
    "-shared", "--strip-all", "--gc-sections", "--build-id=none", "--hash-style=gnu", "-Bsymbolic",
    "-z", "now", "-z", "noexecstack", "-z", f"max-page-size={PAGE_SIZE}",
)  # fmt: skip
LIBC_SYMBOLS = frozenset("sched_yield syscall memcpy memset memmove".split())
LIBM_SYMBOLS = frozenset("expf logf powf sinf cosf tanhf fmodf floorf ceilf roundf rintf fmaf truncf".split())
ALLOWED_SYMBOLS = LIBC_SYMBOLS | LIBM_SYMBOLS  # anything else is a kernel's mistake


def find_linker(cpu: str) -> list[str] | None:
    """The command of a linker for a CPU, or None. Only ELF systems have one here.

    The one of the `ziglang` wheel comes first: one version of it makes the same bytes on every machine.
    """
    wanted = target(cpu)
    architecture = wanted.architecture
    if "linux" not in wanted.triple:
        return None
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "ld.lld", "-m", EMULATION[architecture]]
    native = platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64") == architecture
    for name in ["ld.lld", "ld"] if native else ["ld.lld", f"{architecture}-linux-gnu-ld"]:
        if path := shutil.which(name):
            return [path, "-m", EMULATION[architecture]] if name == "ld.lld" else [path]
    return None


def linker_version(linker: Sequence[str]) -> str:
    """What a linker says of itself, in one line."""
    result = subprocess.run([*linker, "--version"], capture_output=True, text=True, check=False)
    return (result.stdout.splitlines() or ["unknown"])[0].strip()


def link(linker: Sequence[str], objects: Sequence[Path], shared: Path, cpu: str, kernels: Collection[str]) -> None:
    """Link objects into a shared object, check it, and put it in place in one step.

    raise : CompilerError with the linker's first words, or with what the check found
    """
    temporary = shared.with_name(f"{shared.name}.{os.getpid()}")
    try:
        result = subprocess.run(
            [*linker, *OPTIONS, "-o", str(temporary), *map(str, objects)], capture_output=True, text=True, check=False
        )
        if result.returncode:
            reason = " ".join((result.stderr or result.stdout).split())[:300]
            raise CompilerError(
                f"linker {linker[0]}: expected a shared object, got: {reason}; try another linker (pip install ziglang)"
            )
        check_shared_object(temporary.read_bytes(), cpu, kernels)
        temporary.chmod(0o644)
        temporary.replace(shared)
    finally:
        temporary.unlink(missing_ok=True)


def check_shared_object(data: bytes, cpu: str, kernels: Collection[str]) -> None:
    """Whether a shared object is for a CPU's architecture, has the kernels, and wants nothing but libc's and libm's.

    raise : CompilerError
    """
    found, where = read_shared_object(data), f"pack for {cpu}"
    if found.architecture != target(cpu).architecture:
        raise CompilerError(
            f"{where}: expected a shared object for {target(cpu).architecture}, got one for {found.architecture} "
            f"(one of {', '.join(MACHINES)}); check the linker"
        )
    if alien := sorted(found.undefined - ALLOWED_SYMBOLS):
        raise CompilerError(
            f"{where}: expected no symbol but libc's and libm's, got {', '.join(alien)}; "
            "a kernel must not allocate, raise or call Python"
        )
    if missing := sorted(set(kernels) - found.defined):
        raise CompilerError(
            f"{where}: expected {len(kernels)} kernels, got none named {', '.join(missing)}; build again"
        )
    if faults := [*found.faults, *(f"the library {name}" for name in found.needed)]:
        raise CompilerError(f"{where}: expected code and constants alone, got {', '.join(faults)}; check the linker")
    if found.page_size < PAGE_SIZE:
        raise CompilerError(f"{where}: expected pages of {PAGE_SIZE} bytes, got {found.page_size}; check the linker")
