"""Where compiled kernels are stored, and the content hashes that name them.

`<user cache>/alula/kernels/<cpu>/` holds one object per kernel, `<kernel>-<hash>.o`, and one pack per state of the
sources, `pack-<hash>.so` with its manifest (or `pack-<hash>.list`, the objects' names, where there is no linker). An
object's hash covers its sources and the versions of the compiler. If the user's cache is not writable, a folder of
the user in the temporary folder is used instead.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from functools import cache
from pathlib import Path

from alula.runtime.compiler import cpu as cpus
from alula.runtime.compiler.target import target
from alula.runtime.errors import CompilerError
from alula.runtime.kernels.lang import Kernel

RUNTIME = Path(__file__).parent.parent
SHARED = ("alula.runtime.kernels.lang", "alula.runtime.kernels.memory")  # of every kernel
COMPILER_SOURCES = tuple(Path(__file__).parent / name for name in ("pipeline.py", "target.py"))
IMPORT = re.compile(r"^ *from (alula\.runtime\.[\w.]+) import ([\w, ]*)", re.M)


def roots() -> tuple[Path, ...]:
    """The folders that may hold caches, the user's own first. They need not exist."""
    found = []
    try:
        found.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alula" / "kernels")
    except RuntimeError:  # no HOME, and no such user
        pass
    temporary = Path(os.environ.get("TMPDIR") or "/tmp") / f"alula-{os.getuid()}"
    if _is_ours(temporary):
        found.append(temporary / "kernels")
    return tuple(found)


def _is_ours(folder: Path) -> bool:
    """Whether only this user can write to the folder and created it: its files are loaded as code."""
    try:
        found = folder.lstat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def folders(cpu: str) -> tuple[Path, ...]:
    """The folders that may hold one CPU's kernels, the user's own first.

    raise : CompilerError if there are no kernels for such a CPU
    """
    target(cpu)
    return tuple(root / cpu for root in roots())


def cache_path(cpu: str | None = None) -> Path:
    """The folder of one CPU's kernels; it need not exist yet.

    raise : CompilerError if there is no place for one
    """
    if places := folders(cpu or cpus.host_cpu()):
        return places[0]
    raise CompilerError("kernel cache: expected a home or a temporary folder, got neither; set XDG_CACHE_HOME")


def kernel_sources() -> list[Path]:
    """The files that kernels are made of."""
    return [*sorted((RUNTIME / "kernels").glob("*.py")), *sorted((RUNTIME / "ops").glob("*/kernel*.py"))]


def _source(module: str) -> Path:
    return RUNTIME.joinpath(*module.split(".")[2:]).with_suffix(".py")


def _is_kernel(path: Path) -> bool:
    return path.parent.name == "kernels" or path.name.startswith("kernel")


@cache
def _module_hash(module: str) -> str:
    """Hash of a kernel's file and, through its imports, of all that it is made of."""
    import hashlib

    seen: dict[str, bytes] = {}
    pending = [module, *SHARED]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen[name] = _source(name).read_bytes()
        for imported, names in IMPORT.findall(seen[name].decode()):
            within = [f"{imported}.{part.strip()}" for part in names.split(",")]
            pending += [name for name in (imported, *within) if _source(name).is_file() and _is_kernel(_source(name))]
    digest = hashlib.blake2b(repr(sorted(versions().items())).encode(), digest_size=16)
    for path in COMPILER_SOURCES:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for name, source in sorted(seen.items()):
        digest.update(f"{name}.py".encode() + b"\0" + source + b"\0")
    return digest.hexdigest()


@cache
def versions() -> dict[str, str]:
    """Of what makes an object besides the sources; empty where the compiler is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {name: version(name) for name in ("numba", "llvmlite")}
    except PackageNotFoundError:
        return {}


def object_name(kernel: Kernel, cpu: str) -> str:
    """The name of one compiled kernel's file."""
    import hashlib

    digest = hashlib.blake2b(f"{kernel.name} {cpu} {_module_hash(kernel.module)}".encode(), digest_size=12)
    return f"{kernel.name}-{digest.hexdigest()}.o"


def source_hash() -> str:
    """Checksum of all that kernels are made of. Every start compares it, so no kernel is imported for it."""
    name, check = [], 0  # checksums do, and hashlib would load OpenSSL at every start
    for path in (*COMPILER_SOURCES, *kernel_sources()):
        check = zlib.crc32(path.relative_to(RUNTIME).as_posix().encode() + b"\0" + path.read_bytes(), check)
        name.append(check)
    return f"{check:08x}{zlib.adler32(repr(name).encode()):08x}"


def pack_name(sources: str | None = None) -> str:
    """The name of the pack of all kernels, without its ending."""
    return f"pack-{sources or source_hash()}"
