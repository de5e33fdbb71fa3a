"""`alula kernels list | build | where`: the kernels of this machine and the pack they come from, or those of another CPU."""

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
        "--cpu", metavar="NAME", default="host", help="an LLVM CPU name, such as cortex-a72; this machine's if left out"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="build: also write the pack here, <cpu>.so and .json"
    )


def run(args: argparse.Namespace) -> Report:
    """List the kernels, build what is missing, or say where they lie."""
    if args.what == "build":
        return _build(args.cpu, args.out)
    from alula.runtime.compiler import packs
    from alula.runtime.compiler.cpu import this_machine
    from alula.runtime.compiler.target import target

    here = args.cpu == "host"
    if not here:
        target(args.cpu)  # an unknown name is refused
    choice = packs.choose() if here or not this_machine().problem else None
    own = choice if choice and (here or choice.cpu == args.cpu) else None
    cpu = own.cpu if own else args.cpu
    document = {"cpu": cpu, **(_document(own) if own else {})}
    if args.what == "where":
        return _where(cpu, document, own)
    return _list(cpu, document, own)


def _build(name: str, out: Path | None) -> Report:
    """Build a pack."""
    from alula.runtime import compiler
    from alula.runtime.compiler.manifest import read_manifest

    start = time.monotonic()
    cpu = compiler.host_cpu() if name == "host" else name
    compiled = 0

    with Progress(f"compiling kernels for {cpu}") as progress:

        def count(done: int, total: int, what: str = "") -> None:
            nonlocal compiled
            compiled = done
            progress(done, total, what)

        pack = compiler.build(cpu, count, out=out)
    took_s = time.monotonic() - start
    document = {"cpu": cpu, "pack": str(pack), "built": compiled, "seconds": round(took_s, 2)}
    line = f"{compiled} kernels compiled for {cpu} in {took_s:.1f} s: {pack}"
    if pack.suffix == ".so":
        manifest = read_manifest(pack.with_suffix(".json"))
        document |= {"kernels": len(manifest.kernels), "size_bytes": manifest.size_bytes, "digest": manifest.digest}
        line += f" ({len(manifest.kernels)} kernels, {size(manifest.size_bytes)})"
    return Report(document, [line])


def _where(cpu: str, document: dict[str, object], choice: Choice | None) -> Report:
    """Where the kernels are, and where built ones go."""
    from alula.runtime import compiler
    from alula.runtime.compiler.target import TARGETS
    from alula.runtime.errors import CompilerError

    try:
        folder = str(compiler.cache_path(cpu)) if cpu in TARGETS else None
    except CompilerError:
        folder = None
    lines: list[Table | str] = [folder] if folder else []
    return Report({**document, "path": folder}, [*lines, *_lines(choice)], 0 if folder else 1)


def _list(cpu: str, document: dict[str, object], choice: Choice | None) -> Report:
    """Every kernel, and whether it is in the pack or compiled at least."""
    from alula.runtime import compiler
    from alula.runtime.compiler.manifest import read_manifest
    from alula.runtime.compiler.target import TARGETS
    from alula.runtime.kernels import all_kernels

    packed: tuple[str, ...] = ()
    if choice and choice.path and choice.path.suffix == ".so":
        packed = read_manifest(choice.path.with_suffix(".json")).kernels
    sizes: dict[str, int] = {}
    if not packed and cpu in TARGETS:
        rows = compiler.list_kernels(cpu)
        sizes = {kernel.name: path.stat().st_size for kernel, path, exists in rows if exists}
    documents: list[dict[str, object]] = []
    cells: list[tuple[Cell, ...]] = []
    for kernel in sorted(all_kernels().values(), key=lambda kernel: (kernel.family, kernel.name)):
        built, nbytes = kernel.name in packed or kernel.name in sizes, sizes.get(kernel.name)
        documents.append({"kernel": kernel.name, "family": kernel.family, "built": built, "size_bytes": nbytes})
        state = "in the pack" if kernel.name in packed else "not built" if nbytes is None else size(nbytes)
        cells.append((kernel.name, kernel.family, state))
    line = f"{sum(bool(d['built']) for d in documents)} of {len(cells)} kernels are built for {cpu}"
    table = Table(("kernel", "family", "state"), cells)
    return Report({**document, "kernels": documents}, [table, line, *_lines(choice)])


def _document(choice: Choice) -> dict[str, object]:
    refused = [{"path": str(path), "reason": why} for path, why in choice.refused]
    return {"pack": str(choice.path) if choice.path else None, "reason": choice.reason, "refused": refused}


def _lines(choice: Choice | None) -> list[Table | str]:
    if choice is None:
        return []
    found = f"pack: {choice.path} ({choice.reason})" if choice.path else f"no pack: {choice.reason}"
    return [found, *(f"refused: {path}: {why}" for path, why in choice.refused)]
