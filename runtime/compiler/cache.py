"""Where compiled kernels lie, and the content hashes that name them.

`<user cache>/alula/kernels/<cpu>/` holds one object per kernel, `<kernel>-<hash>.o`, and one pack per set of objects,
`pack-<hash>.so` (or `pack-<hash>.list`, the objects' names, where there is no linker). An object's hash covers the
sources it was made of; the versions of the compiler are in its manifest.
"""

from __future__ import annotations

import os
import re
import zlib
from functools import cache
from pathlib import Path

from alula.runtime.compiler import cpu as cpus
from alula.runtime.errors import CompilerError
from alula.runtime.kernels.lang import Kernel

KERNEL_FOLDER = Path(__file__).parent.parent / "kernels"
COMPILER_SOURCES = tuple(Path(__file__).parent / name for name in ("pipeline.py", "cpu.py"))
IMPORT = re.compile(r"^from alula\.runtime\.kernels(?:\.(\w+))? import ([\w, ]*)", re.M)


def cache_path(cpu: str | None = None) -> Path:
    """The folder of one CPU's kernels; it need not exist yet."""
    if cpu is not None and not re.fullmatch(r"\w[\w.-]*", cpu):
        raise CompilerError(f"cpu {cpu!r}: expected LLVM's name of a CPU, such as cortex-a72, got another text")
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "alula" / "kernels" / (cpu or cpus.host_cpu())


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _family_hash(family: str) -> str:
    """Hash of a family's file and, through its imports, of all it is made of."""
    seen: set[str] = set()
    pending = [family, "lang", "memory"]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for module, names in IMPORT.findall(_source(KERNEL_FOLDER / f"{name}.py").decode()):
            pending += [module] if module else [n.strip() for n in names.split(",")]
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    for path in (*COMPILER_SOURCES, *(KERNEL_FOLDER / f"{name}.py" for name in sorted(seen))):
        digest.update(path.name.encode() + b"\0" + _source(path) + b"\0")
    return digest.hexdigest()


def object_path(kernel: Kernel, cpu: str) -> Path:
    """The file of one compiled kernel."""
    import hashlib

    digest = hashlib.blake2b(f"{kernel.name} {cpu} {_family_hash(kernel.family)}".encode(), digest_size=12)
    return cache_path(cpu) / f"{kernel.name}-{digest.hexdigest()}.o"


def pack_path(cpu: str) -> Path:
    """The pack of all kernels (without its ending). Every start looks for it, so no kernel is imported to name it."""
    name, check = [], 0  # checksums do, and hashlib would load OpenSSL at every start
    for path in (*COMPILER_SOURCES, *sorted(KERNEL_FOLDER.glob("*.py"))):
        check = zlib.crc32(path.name.encode() + b"\0" + _source(path), check)
        name.append(check)
    return cache_path(cpu) / f"pack-{check:08x}{zlib.adler32(repr(name).encode()):08x}"
