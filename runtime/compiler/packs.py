"""Kernel packs: which one this machine loads, and why not another.

A pack is one `.so` with its manifest beside it (`manifest.py`). The search order is: `ALULA_PACK` (a pack or a folder of
packs; if set, nowhere else); kernels that were built on this machine; packs that come with Alula
(`runtime/packs/<cpu>.so`). A pack that does not fit is refused with a reason, and the next one is tried. Nothing here
writes, and nothing is loaded before it is checked completely.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import alula
from alula.runtime.compiler import cache
from alula.runtime.compiler.cpu import Machine, best, this_machine
from alula.runtime.compiler.elf import architecture_of
from alula.runtime.compiler.manifest import ABI, Manifest, Unfit, digest_of, read_manifest
from alula.runtime.compiler.target import TARGETS
from alula.runtime.errors import CompilerError
from alula.runtime.frozen import frozen

SHIPPED = Path(__file__).parent.parent / "packs"
VARIABLE, BUILT = "ALULA_PACK", "built on this machine"


@frozen
class Choice:
    """The pack that a machine loads.

    cpu     : whose kernels they are; the architecture where there are none
    path    : the `.so`; None if there is none that fits
    reason  : why this pack, or why none and what to do
    refused : packs that were looked at, and what is wrong with each
    builds  : whether the compiler is here to make what is missing
    damaged : those of the refused that should not lie where they do: damaged, another CPU's, another version's
    """

    cpu: str
    path: Path | None
    reason: str
    refused: tuple[tuple[Path, str], ...] = ()
    builds: bool = False
    damaged: tuple[Path, ...] = ()


def choose(machine: Machine | None = None, unloadable: Mapping[Path, str] | None = None) -> Choice:
    """The best pack for a machine, this one if None.

    unloadable : packs that the system has refused to load, with its reasons
    """
    machine = machine or this_machine()
    if machine.problem:
        return Choice(machine.architecture, None, machine.problem)
    if named := os.environ.get(VARIABLE):
        return _named(Path(named), machine, unloadable or {})
    sources = cache.source_hash()
    refused: list[tuple[Path, str]] = []
    damaged: list[Path] = []
    for cpu, pack, origin in _places(machine, sources):
        try:
            if unloadable and pack in unloadable:
                raise Unfit(unloadable[pack], damaged=True)
            if pack.suffix == ".so":
                check(pack, machine, sources, cpu)
            elif lacking := machine.lacks(cpu):
                raise Unfit(
                    f"expected kernels that this machine's cores can run, got some that need {' '.join(lacking)}"
                )
        except Unfit as error:
            refused.append((pack, str(error)))
            damaged += [pack] if error.damaged else []
            continue
        return Choice(cpu, pack, f"{_why(cpu, machine)}, {origin}", tuple(refused), False, tuple(damaged))
    return _none(machine, refused, damaged)


def check(pack: Path, machine: Machine, sources: str, cpu: str | None = None) -> Manifest:
    """The manifest of a pack that this machine can load.

    sources : the checksum that its sources must have
    cpu     : the CPU that it must be for; any whose features the machine has if None
    raise   : Unfit
    """
    manifest = read_manifest(pack.with_suffix(".json"))
    made_by = f"Alula {manifest.versions.get('alula', 'unknown')}"
    if manifest.abi != ABI:
        raise Unfit(
            f"expected kernels of ABI {ABI}, got ABI {manifest.abi} of {made_by}: the pack is another version's",
            damaged=True,
        )
    known = TARGETS.get(manifest.cpu)
    if known is None or (cpu and manifest.cpu != cpu):
        raise Unfit(f"expected a pack for {cpu or 'a known CPU'}, got one for {manifest.cpu[:40]}", damaged=True)
    if known.architecture != machine.architecture:
        raise Unfit(f"expected a pack for {machine.architecture}, got one for {known.architecture} ({manifest.cpu})")
    if lacking := sorted((known.needs | set(manifest.features)) - machine.features):
        raise Unfit(
            f"expected a pack that this machine's cores can run, got one for {manifest.cpu}, which needs {' '.join(lacking)[:200]}"
        )
    if manifest.sources != sources:
        raise Unfit(
            f"expected the kernels of Alula {alula.__version__} (sources {sources}), got those of {made_by} "
            f"(sources {manifest.sources[:16]}): the pack is another version's",
            damaged=True,
        )
    verify_contents(pack, manifest)
    return manifest


def verify_contents(pack: Path, manifest: Manifest) -> None:
    """Compare a pack's bytes with its manifest.

    raise : Unfit
    """
    try:
        size = pack.stat().st_size
        data = pack.read_bytes() if size == manifest.size_bytes else b""
    except OSError as error:
        raise Unfit(f"expected to read the pack, got {error.strerror}", damaged=True) from None
    if size != manifest.size_bytes:
        raise Unfit(f"expected {manifest.size_bytes} bytes, got {size}: the file is not whole", damaged=True)
    if (digest := digest_of(data)) != manifest.digest:
        raise Unfit(f"expected the digest {manifest.digest[:16]}, got {digest[:16]}: the file is damaged", damaged=True)
    if architecture_of(data) != TARGETS[manifest.cpu].architecture:
        raise Unfit(f"expected a shared object for {manifest.cpu}, got another file", damaged=True)


def _places(machine: Machine, sources: str) -> Iterator[tuple[str, Path, str]]:
    """The packs that are there, with their CPUs and where they come from, best first."""
    first = True
    for cpu in machine.candidates():
        for pack, origin in stored(cpu, sources):
            # What was built here for a lesser CPU, to try it out, must not keep the compiler from doing better
            if origin != BUILT or first or not _has_compiler():
                yield cpu, pack, origin
        first = first and bool(machine.lacks(cpu))


def _has_compiler() -> bool:
    return importlib.util.find_spec("numba") is not None


def stored(cpu: str, sources: str) -> Iterator[tuple[Path, str]]:
    """The packs for a CPU that are there, whether they fit or not, with where they come from."""
    name = cache.pack_name(sources)
    for folder in cache.folders(cpu):
        if os.path.exists(pack := folder / f"{name}.so"):
            yield pack, BUILT
        if os.path.exists(objects := folder / f"{name}.list"):
            yield objects, BUILT
    pack = SHIPPED / f"{cpu}.so"
    if os.path.exists(pack) or os.path.exists(pack.with_suffix(".json")):
        yield pack, "came with Alula"


def is_whole(pack: Path, cpu: str, sources: str) -> bool:
    """Whether a pack and its manifest are there, belong together and are this version's."""
    try:
        manifest = read_manifest(pack.with_suffix(".json"))
        verify_contents(pack, manifest)
    except Unfit:
        return False
    return (manifest.abi, manifest.cpu, manifest.sources) == (ABI, cpu, sources)


def _named(named: Path, machine: Machine, unloadable: Mapping[Path, str]) -> Choice:
    """The choice where the environment names a pack or a folder: what does not fit is an error."""
    order = machine.candidates()
    sources = cache.source_hash()
    packs = sorted(named.glob("*.so")) if os.path.isdir(named) else [named.with_suffix(".so")]
    fit: list[tuple[int, Path, str]] = []
    refused: list[tuple[Path, str]] = []
    for pack in packs:
        try:
            if not os.path.exists(pack):
                raise Unfit("expected a pack, a .so with its .json beside it, got no such file")
            if pack in unloadable:
                raise Unfit(unloadable[pack])
            cpu = check(pack, machine, sources).cpu
            fit.append((order.index(cpu) if cpu in order else len(order), pack, cpu))
        except Unfit as error:
            refused.append((pack, str(error)))
    if fit:
        _, pack, cpu = min(fit)
        return Choice(cpu, pack, f"{VARIABLE} names it", tuple(refused))
    cpu = next((name for name in order if not machine.lacks(name)), machine.architecture)
    wrong = _listed(refused) or f"{named}: expected a folder with packs, got none in it"
    return Choice(cpu, None, f"{VARIABLE}: {wrong}; name a pack for {cpu}, or unset {VARIABLE}", tuple(refused))


def _none(machine: Machine, refused: list[tuple[Path, str]], damaged: list[Path]) -> Choice:
    """The choice where no pack fits."""
    try:
        cpu = best(machine)
    except CompilerError as error:
        return Choice(machine.architecture, None, str(error), tuple(refused), False, tuple(damaged))
    if _has_compiler():
        reason = f"no pack for {cpu} fits yet: its kernels are compiled when they are first used"
        return Choice(cpu, None, reason, tuple(refused), True, tuple(damaged))
    got = f"only unfit packs ({_listed(refused)})" if refused else "neither"
    reason = (
        f"kernels for {cpu}: expected a pack or the compiler, got {got}; install Alula from a wheel that has packs, or add "
        f"the compiler (pip install 'alula[compiler]'), or build a pack on another machine (alula kernels build --cpu {cpu} "
        f"--out FOLDER) and name it in {VARIABLE}"
    )
    return Choice(cpu, None, reason, tuple(refused), False, tuple(damaged))


def _listed(refused: list[tuple[Path, str]]) -> str:
    return ", ".join(f"{path}: {why}" for path, why in refused)


def _why(cpu: str, machine: Machine) -> str:
    if machine.architecture != "aarch64" or machine.cores == (cpu,):
        return f"made for this CPU ({cpu})" if machine.cores else f"the most that this CPU can run ({cpu})"
    cores = " and ".join(machine.cores) or "of no name"
    if machine.known == machine.cores and len(machine.cores) == 1:
        return f"the next best for this CPU ({cores})"
    if set(machine.cores) <= set(machine.known):
        return f"suits all cores ({cores})"
    return f"unknown cores ({cores}), and {cpu} needs nothing that they lack"
