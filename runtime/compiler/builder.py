"""Build kernels: compile in parallel processes what the cache does not have, then link. Nothing is built twice."""

from __future__ import annotations

import errno
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

import alula
from alula.runtime.compiler import cache
from alula.runtime.compiler import cpu as cpus
from alula.runtime.compiler.link import find_linker, link, linker_version
from alula.runtime.compiler.manifest import ABI, Manifest, digest_of
from alula.runtime.compiler.packs import is_whole, stored
from alula.runtime.compiler.target import TARGETS
from alula.runtime.errors import CompilerError
from alula.runtime.kernels import all_kernels
from alula.runtime.kernels.lang import Kernel

Progress = Callable[[int, int, str], None]  # (done, all, kernel just built)

# Cost of compiling, relative to the rest: the long ones start first
HEAVY = ("f32_conv", "f32_winograd", "f32_elementwise", "f32_depthwise")


def list_kernels(cpu: str | None = None, folder: Path | None = None) -> list[tuple[Kernel, Path, bool]]:
    """Every kernel, by name, with its object's path and whether that exists."""
    target = cpu or cpus.host_cpu()
    place = folder or cache.cache_path(target)
    rows = [(kernel, place / cache.object_name(kernel, target)) for _, kernel in sorted(all_kernels().items())]
    return [(kernel, path, os.path.exists(path)) for kernel, path in rows]


def build(
    cpu: str | None = None, progress: Progress | None = None, jobs: int | None = None, out: Path | None = None
) -> Path:
    """Build all kernels for a CPU, and link them.

    cpu    : an LLVM CPU name; this machine's if None
    jobs   : compiling processes; as many as there are cores if None
    out    : a folder for a copy of the pack, `<cpu>.so` and `<cpu>.json`
    return : the pack, a `.so` with its manifest, or a `.list` of objects where there is no linker
    raise  : CompilerError if the compiler is not installed or a kernel does not compile
    """
    target = cpu or cpus.host_cpu()
    sources = cache.source_hash()
    name = cache.pack_name(sources)
    for folder in cache.folders(target):  # one that cannot be written to may have what is wanted
        if is_whole(folder / f"{name}.so", target, sources):
            return _copied(folder / f"{name}.so", target, out)
    if importlib.util.find_spec("numba") is None:
        for pack, _ in stored(target, sources):  # the one that came with Alula is as good
            if pack.suffix == ".so" and is_whole(pack, target, sources):
                return _copied(pack, target, out)
        raise CompilerError(
            f"kernels for {target}: expected the compiler, to build them, got none; install it with: pip install 'alula[compiler]'"
        )
    with _workplace(target) as folder:
        pack = _build(target, folder, sources, progress, jobs or os.cpu_count() or 1)
        return _copied(pack, target, out)


def _build(cpu: str, folder: Path, sources: str, progress: Progress | None, jobs: int) -> Path:
    """Compile and link in a folder that is ours."""
    rows = list_kernels(cpu, folder)
    linker = find_linker(cpu)
    pack = folder / f"{cache.pack_name(sources)}{'.so' if linker else '.list'}"
    if is_whole(pack, cpu, sources) if linker else pack.exists():
        return pack  # another process has built it meanwhile
    missing = [(kernel, path) for kernel, path, exists in rows if not exists]
    if missing:
        _compile(missing, cpu, progress, jobs)
    objects = [path for _, path, _ in rows]
    if linker:
        kernels = tuple(kernel.name for kernel, _, _ in rows)
        link(linker, objects, pack, cpu, kernels)
        _describe(pack, cpu, sources, kernels, linker_version(linker))
    else:
        pack.write_text("\n".join(path.name for path in objects), encoding="utf-8")
    return pack


def _describe(pack: Path, cpu: str, sources: str, kernels: tuple[str, ...], linker: str) -> None:
    """Write a pack's manifest."""
    data = pack.read_bytes()
    versions = {"alula": alula.__version__, **cache.versions(), "linker": linker}
    manifest = Manifest(
        ABI, cpu, tuple(sorted(TARGETS[cpu].needs)), sources, versions, kernels, len(data), digest_of(data)
    )
    temporary = pack.with_suffix(f".json.{os.getpid()}")
    manifest.write(temporary)
    temporary.replace(pack.with_suffix(".json"))


def _copied(pack: Path, cpu: str, out: Path | None) -> Path:
    """The pack, or its copy in the folder that was asked for."""
    if out is None:
        return pack
    if "linux" not in TARGETS[cpu].triple:
        raise CompilerError(f"pack for {cpu}: expected a CPU under Linux, got {cpu}; its kernels stay in the cache")
    if pack.suffix != ".so":
        raise CompilerError(
            f"pack for {cpu}: expected a linker for {cpu}, got none; install it with: pip install ziglang"
        )
    copy = out / f"{cpu}.so"
    try:
        out.mkdir(parents=True, exist_ok=True)
        for source, target in ((pack, copy), (pack.with_suffix(".json"), copy.with_suffix(".json"))):
            temporary = target.with_name(f"{target.name}.{os.getpid()}")
            temporary.write_bytes(source.read_bytes())
            temporary.replace(target)
    except OSError as error:
        raise CompilerError(
            f"{out}: expected to write a pack there, got {error.strerror}; choose another folder"
        ) from None
    return copy


def _compile(missing: list[tuple[Kernel, Path]], cpu: str, progress: Progress | None, jobs: int) -> None:
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
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONHASHSEED": "0",
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
            worker.stdin.write(f"{kernel.module}\t{kernel.name}\t{path}\n")
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
def _workplace(cpu: str) -> Iterator[Path]:
    """A folder for one CPU's kernels, locked, so that two processes do not build the same ones.

    raise : CompilerError if none can be written to
    """
    reasons: list[str] = []
    for folder in cache.folders(cpu):
        try:
            for parent in (folder.parents[1], folder):
                parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder not in cache.folders(cpu):
                raise PermissionError(errno.EPERM, "belongs to another user")
            lock = (folder / "lock").open("w")
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
            continue
        if reasons:
            print(
                f"alula: no cache of kernels can be kept in {'; '.join(reasons)}; they go to {folder}", file=sys.stderr
            )
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
        return
    raise CompilerError(
        f"kernels for {cpu}: expected a folder to keep them in, got {'; '.join(reasons) or 'none'}; set XDG_CACHE_HOME or TMPDIR"
    )
