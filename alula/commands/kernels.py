"""`alula kernels list | build | where`: the compiled kernels of this machine, or of another CPU."""

from __future__ import annotations

import argparse
import time

from alula.progress import Progress
from alula.report import Report, Table, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which of the three, and for which CPU."""
    parser.add_argument("what", choices=("list", "build", "where"), nargs="?", default="list")
    parser.add_argument("--cpu", metavar="NAME", help="an LLVM CPU name, such as cortex-a72; this machine's if left out")


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
    rows = [
        {"kernel": kernel.name, "family": kernel.family, "built": built, "size_bytes": path.stat().st_size if built else None}
        for kernel, path, built in compiler.list_kernels(cpu)
    ]
    cells = [(r["kernel"], r["family"], size(r["size_bytes"]) if r["built"] else "not built") for r in rows]
    built = sum(bool(r["built"]) for r in rows)
    return Report(
        {"cpu": cpu, "kernels": rows},
        [Table(("kernel", "family", "object"), sorted(cells)), f"{built} of {len(rows)} kernels are built for {cpu}"],
    )
