"""`alula kernels list | build | where`: the kernels of this machine or of another CPU, and their pack."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from alula.progress import Progress
from alula.report import Cell, Report, Table, size

if TYPE_CHECKING:
    from alula.runtime.compiler.packs import Choice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which of the three, and for which CPU."""
    parser.add_argument("what", choices=("list", "build", "where"), nargs="?", default="list")
    parser.add_argument(
        "--cpu", metavar="NAME", default="host", help="an LLVM CPU name, such as cortex-a72; default: this machine's"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="with build: also write the pack here, as <cpu>.so and .json"
    )


def run(args: argparse.Namespace) -> Report:
    """List the kernels, build what is missing, or say where they are."""
    if args.what == "build":
        return _build(args.cpu, args.out)
    choice = _choice(args.cpu)
    refused = [{"path": str(path), "reason": why} for path, why in choice.refused]
    pack = str(choice.path) if choice.path else None
    document: dict[str, object] = {"cpu": choice.cpu, "pack": pack, "reason": choice.reason, "refused": refused}
    lines = [f"pack: {pack} ({choice.reason})" if pack else f"no pack: {choice.reason}"]
    lines += [f"refused: {path}: {why}" for path, why in choice.refused]
    return _where(choice, document, lines) if args.what == "where" else _list(choice, document, lines)


def _choice(name: str) -> Choice:
    """The pack that this machine loads, or the one that is there for another CPU."""
    from alula.runtime.compiler import cache, packs

    if name == "host":
        return packs.choose()
    sources = cache.source_hash()
    for pack, origin in packs.stored(name, sources):
        if pack.suffix == ".list" or packs.is_whole(pack, name, sources):
            return packs.Choice(name, pack, origin)
    return packs.Choice(name, None, f"build one with: alula kernels build --cpu {name}")


def _build(name: str, out: Path | None) -> Report:
    """Build a pack."""
    from alula.runtime import compiler
    from alula.runtime.compiler.manifest import read_manifest

    start = time.monotonic()
    cpu = compiler.host_cpu() if name == "host" else name
    compiled = 0
    with Progress(f"compiling kernels for {cpu}") as progress:

        def tell(done: int, total: int, what: str) -> None:
            nonlocal compiled
            compiled = done
            progress(done, total, what)

        pack = compiler.build(cpu, tell, out=out)
    took_s = time.monotonic() - start
    document = {"cpu": cpu, "pack": str(pack), "built": compiled, "seconds": round(took_s, 2)}
    line = f"{compiled} kernels compiled for {cpu} in {took_s:.1f} s: {pack}"
    if pack.suffix == ".so":
        manifest = read_manifest(pack.with_suffix(".json"))
        document |= {"kernels": len(manifest.kernels), "size_bytes": manifest.size_bytes, "digest": manifest.digest}
        line += f" ({len(manifest.kernels)} kernels, {size(manifest.size_bytes)})"
    return Report(document, [line])


def _where(choice: Choice, document: dict[str, object], lines: list[str]) -> Report:
    """Where built kernels go, and where those are that are loaded."""
    from alula.runtime import compiler
    from alula.runtime.errors import CompilerError

    try:
        folder = str(compiler.cache_path(choice.cpu))
    except CompilerError:  # not a CPU that kernels are built for, or no folder to keep them in
        return Report({**document, "path": None}, [*lines])
    return Report({**document, "path": folder}, [folder, *lines])


def _list(choice: Choice, document: dict[str, object], lines: list[str]) -> Report:
    """Every kernel, and whether it is in the pack, or compiled at least."""
    from alula.runtime import compiler
    from alula.runtime.compiler.manifest import read_manifest
    from alula.runtime.compiler.target import TARGETS
    from alula.runtime.kernels import all_kernels

    packed: tuple[str, ...] = ()
    sizes: dict[str, int] = {}
    if choice.path and choice.path.suffix == ".so":
        packed = read_manifest(choice.path.with_suffix(".json")).kernels
    elif choice.cpu in TARGETS:
        sizes = {
            kernel.name: path.stat().st_size for kernel, path, exists in compiler.list_kernels(choice.cpu) if exists
        }
    documents: list[dict[str, object]] = []
    cells: list[tuple[Cell, ...]] = []
    for kernel in sorted(all_kernels().values(), key=lambda kernel: (kernel.room, kernel.name)):
        nbytes = sizes.get(kernel.name)
        state = "in the pack" if kernel.name in packed else "not built" if nbytes is None else size(nbytes)
        built = state != "not built"
        documents.append({"kernel": kernel.name, "family": kernel.room, "built": built, "size_bytes": nbytes})
        cells.append((kernel.name, kernel.room, state))
    line = f"{sum(bool(d['built']) for d in documents)} of {len(cells)} kernels are built for {choice.cpu}"
    table = Table(("kernel", "family", "state"), cells)
    return Report({**document, "kernels": documents}, [table, line, *lines])
