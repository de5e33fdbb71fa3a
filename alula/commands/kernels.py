"""`alula kernels list | build | where`: the compiled kernels of this machine, or of another CPU."""

from __future__ import annotations

import argparse
import time

from alula.progress import Progress
from alula.report import Cell, Report, Table, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which of the three, and for which CPU."""
    parser.add_argument("what", choices=("list", "build", "where"), nargs="?", default="list")
    parser.add_argument(
        "--cpu", metavar="NAME", help="an LLVM CPU name, such as cortex-a72; this machine's if left out"
    )


def run(args: argparse.Namespace) -> Report:
    """List the kernels, build what is missing, or say where they lie."""
    from alula.runtime import compiler

    cpu = args.cpu or compiler.host_cpu()
    if args.what == "where":
        folder = compiler.cache_path(cpu)
        return Report({"cpu": cpu, "path": str(folder)}, [str(folder)])
    if args.what == "build":
        start = time.monotonic()
        missing = sum(not built for _, _, built in compiler.list_kernels(cpu))
        with Progress(f"compiling kernels for {cpu}") as progress:
            pack = compiler.build(cpu, progress)
        took_s = time.monotonic() - start
        document = {"cpu": cpu, "pack": str(pack), "built": missing, "seconds": round(took_s, 2)}
        return Report(document, [f"{missing} kernels compiled for {cpu} in {took_s:.1f} s: {pack}"])
    documents: list[dict[str, object]] = []
    rows: list[tuple[Cell, ...]] = []
    for kernel, path, built in sorted(compiler.list_kernels(cpu), key=lambda row: (row[0].family, row[0].name)):
        nbytes = path.stat().st_size if built else None
        documents.append({"kernel": kernel.name, "family": kernel.family, "built": built, "size_bytes": nbytes})
        rows.append((kernel.name, kernel.family, "not built" if nbytes is None else size(nbytes)))
    line = f"{sum(bool(d['built']) for d in documents)} of {len(rows)} kernels are built for {cpu}"
    return Report({"cpu": cpu, "kernels": documents}, [Table(("kernel", "family", "object"), rows), line])
