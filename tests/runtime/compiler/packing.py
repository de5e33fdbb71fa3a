"""Packs made for tests: a header that says which architecture, no code, and a manifest that says what is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from alula.runtime.compiler.cache import source_hash
from alula.runtime.compiler.elf import HEADER, MACHINES
from alula.runtime.compiler.manifest import ABI, Manifest, digest_of
from alula.runtime.compiler.target import TARGETS


def make_pack(folder: Path, cpu: str, name: str = "", **changes: Any) -> Path:
    """A pack for a CPU that fits the current sources, but for the changes to its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    pack = folder / f"{name or cpu}.so"
    machine = MACHINES[TARGETS[cpu].architecture]
    data = HEADER.pack(b"\x7fELF\x02\x01\x01" + bytes(9), 3, machine, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0) + bytes(
        range(256)
    )
    pack.write_bytes(data)
    manifest = Manifest(
        ABI,
        cpu,
        tuple(sorted(TARGETS[cpu].needs)),
        source_hash(),
        {"alula": "0.0.9"},
        ("vm_run",),
        len(data),
        digest_of(data),
    )
    replace(manifest, **changes).write(pack.with_suffix(".json"))
    return pack
