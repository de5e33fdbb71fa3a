"""The manifest of a kernel pack: the JSON beside the `.so` that describes it, so that a pack is checked before it is loaded.

    cortex-a72.so    the kernels, one shared object
    cortex-a72.json  {"format", "abi", "cpu", "features", "sources", "versions", "kernels", "size_bytes", "digest"}

`sources` is the checksum of the kernels' sources (`cache.source_hash`), `digest` BLAKE2b-256 of the `.so`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alula.runtime.errors import CompilerError
from alula.runtime.frozen import frozen

FORMAT = 1  # of this file
ABI = 1  # how kernels are called, and the layout of the virtual machine's table
MAX_MANIFEST_SIZE = 1 << 20  # bytes


class Unfit(CompilerError):
    """A pack that cannot be used here: `expected X, got Y`. `damaged` if something is amiss with it, not with the machine."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


@frozen
class Manifest:
    """What a pack says of itself.

    features : what its kernels need of a CPU beyond the architecture's base
    versions : of alula, numba, llvmlite and the linker
    kernels  : the names it exports
    """

    abi: int
    cpu: str
    features: tuple[str, ...]
    sources: str
    versions: dict[str, str]
    kernels: tuple[str, ...]
    size_bytes: int
    digest: str

    def write(self, path: Path) -> None:
        """Write the JSON, the same bytes for the same contents."""
        fields = {"format": FORMAT, **{name: getattr(self, name) for name in FIELDS}}
        text = json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")


FIELDS = {
    "abi": int, "cpu": str, "features": list, "sources": str, "versions": dict, "kernels": list, "size_bytes": int,
    "digest": str,
}  # fmt: skip


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    raise : Unfit if it cannot be read, or is none
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_MANIFEST_SIZE + 1)
    except FileNotFoundError:
        raise Unfit(f"expected its manifest {path.name} beside it, got none", damaged=True) from None
    except OSError as error:
        raise Unfit(f"expected to read its manifest {path.name}, got {error.strerror}", damaged=True) from None
    try:
        fields = json.loads(text) if len(text) <= MAX_MANIFEST_SIZE else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not isinstance(fields.get("format"), int):
        raise Unfit(f"expected a manifest in {path.name}, got something else", damaged=True)
    if fields["format"] != FORMAT:
        raise Unfit(
            f"expected a manifest of format {FORMAT}, got format {fields['format']}: it is another version's",
            damaged=True,
        )
    for name, kind in FIELDS.items():
        if not _is_of(fields.get(name), kind):
            raise Unfit(f"expected a manifest with {name}, got a damaged one ({path.name})", damaged=True)
    values: dict[str, Any] = {
        name: tuple(fields[name]) if kind is list else fields[name] for name, kind in FIELDS.items()
    }
    return Manifest(**values)


def _is_of(value: Any, kind: type) -> bool:
    """Whether a value of the JSON is of a kind; lists and dicts hold texts."""
    if type(value) is not kind:
        return False
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or all(isinstance(item, str) for item in value)


def digest_of(data: bytes) -> str:
    """BLAKE2b-256, in hexadecimal."""
    try:
        from _blake2 import blake2b  # hashlib would load OpenSSL, at every start
    except ImportError:
        from hashlib import blake2b
    return blake2b(data, digest_size=32).hexdigest()
