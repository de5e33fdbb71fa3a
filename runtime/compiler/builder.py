"""Build kernels: compile what the cache lacks in parallel processes, then link. Nothing is built twice."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alula.runtime.compiler import cache
from alula.runtime.compiler import cpu as cpus
from alula.runtime.compiler.link import find_linker, link
from alula.runtime.errors import CompilerError
from alula.runtime.kernels import all_kernels
from alula.runtime.kernels.lang import Kernel

Progress = Callable[[int, int, str], None]  # (done, all, kernel just built)

# Cost of compiling, relative to the rest: the long ones start first
HEAVY = ("f32_conv", "f32_winograd", "f32_elementwise", "f32_depthwise")


def list_kernels(cpu: str | None = None) -> list[tuple[Kernel, Path, bool]]:
    """Every kernel with its object's path and whether that exists."""
    target = cpu or cpus.host_cpu()
    rows = [(kernel, cache.object_path(kernel, target)) for kernel in all_kernels().values()]
    return [(kernel, path, path.exists()) for kernel, path in rows]


def build(cpu: str | None = None, progress: Progress | None = None, jobs: int | None = None) -> Path:
    """Build all kernels for a CPU, and link them.

    cpu    : an LLVM CPU name; this machine's if None
    jobs   : compiling processes; as many as there are cores if None
    return : the pack, a `.so`, or a `.list` of objects where there is no linker
    raise  : CompilerError if the compiler is not installed or a kernel does not compile
    """
    target = cpu or cpus.host_cpu()
    folder = cache.cache_path(target)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        rows = list_kernels(target)
        linker = find_linker(target)
        pack = cache.pack_path(target).with_suffix(".so" if linker else ".list")
        if pack.exists():
            return pack
        missing = [(kernel, path) for kernel, path, exists in rows if not exists]
        if missing:
            _compile(missing, target, progress, jobs or os.cpu_count() or 1)
        objects = [path for _, path, _ in rows]
        if linker:
            link(linker, objects, pack)
        else:
            pack.write_text("\n".join(path.name for path in objects), encoding="utf-8")
    return pack


def _compile(missing: list[tuple[Kernel, Path]], cpu: str, progress: Progress | None, jobs: int) -> None:
    if importlib.util.find_spec("numba") is None:
        raise CompilerError(
            f"kernels for {cpu}: expected a pack or the compiler, got neither; install it with: pip install 'alula[compiler]'"
        )
    order = sorted(missing, key=lambda row: (not row[0].name.startswith(HEAVY), row[0].name))
    jobs = max(1, min(jobs, len(order)))
    todo: queue.SimpleQueue[tuple[Kernel, Path]] = queue.SimpleQueue()
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for row in order:
        todo.put(row)
    servers = [threading.Thread(target=_serve, args=(cpu, todo, answers), daemon=True) for _ in range(jobs)]
    for server in servers:
        server.start()
    done, failures, running = 0, [], jobs
    while running:
        answer = answers.get()
        if answer is None:
            running -= 1
            continue
        verdict, _, rest = answer.partition(" ")
        if verdict == "failed":
            failures.append(rest)
            continue
        done += 1
        if progress:
            progress(done, len(order), rest)
    if failures or done < len(order):
        raise CompilerError(
            f"kernels for {cpu}: expected {len(order)} to compile, got {len(failures)} failures, the first: "
            f"{failures[0] if failures else 'a compiling process ended early'}; check the numba and llvmlite versions"
        )


def _serve(cpu: str, todo: queue.SimpleQueue[tuple[Kernel, Path]], answers: queue.SimpleQueue[str | None]) -> None:
    """Feed one compiling process until nothing is left to do."""
    environment = {
        **os.environ, "ALULA_KERNEL_TARGET": cpu, "NUMBA_OPT": "0", "NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }  # fmt: skip
    worker = subprocess.Popen(
        [sys.executable, "-m", "alula.runtime.compiler.worker", cpu],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,  # an interrupt is this process's to tell, in one line
    )  # fmt: skip
    assert worker.stdin and worker.stdout
    try:
        while True:
            try:
                kernel, path = todo.get_nowait()
            except queue.Empty:
                break
            worker.stdin.write(f"{kernel.family}\t{kernel.name}\t{path}\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
            if not answer:
                answers.put(f"failed {kernel.name} the compiling process died")
                break
            answers.put(answer.rstrip("\n"))
    finally:
        worker.stdin.close()
        worker.stdout.close()
        worker.wait()
        answers.put(None)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes, so that two of them do not build the same kernels."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
