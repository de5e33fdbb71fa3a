"""The frame of an `.alula` file, version 1: fixed header, JSON, aligned sections. Byte by byte in docs/artifact-format.md.

Every limit has a name here. A reader compares each size with the file's length before it allocates anything.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from alula.runtime.errors import ArtifactError, reason

MAGIC = b"\x89ALULA\r\n"  # not text, and damaged by whatever changes line ends
VERSION = 1
ALIGNMENT = 64
FIELDS = struct.Struct("<8sIIQQ32s")  # magic, version, 0, length of the JSON, length of the file, SHA-256 of the rest
CHECK = struct.Struct("<II")  # crc32 of the fields and the JSON, 0
HEADER_SIZE = FIELDS.size + CHECK.size  # 72: here the JSON begins

MAX_HEADER_SIZE = 8 << 20  # bytes of JSON
MAX_GRAPHS = 64
MAX_TENSORS = 1 << 16
MAX_NODES = 1 << 16  # of one graph
MAX_TENSOR_NAMES = (1 << 16) - 1  # inputs or outputs of one node
MAX_FUSED = 64  # element-wise nodes in one epilogue
MAX_NAME_LENGTH = 1024
MAX_RANK = 8
MAX_DIM = (1 << 31) - 1
MAX_DECODED_SIZE = 4 << 30  # bytes of all constants of all graphs together

TRAINABLE = "trainable"  # of the metadata: the graphs still have what inference folds
DAMAGED = "the file is damaged, copy it again"


def align(offset: int) -> int:
    """The next offset at which a section may begin."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def canonical_json(value: Any, where: str) -> bytes:
    """UTF-8 JSON with sorted keys and no blanks: the same value gives the same bytes.

    raise : ArtifactError if the value is no JSON (NaN, an object, a lone surrogate)
    """
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: expected plain JSON values, got {error}; convert arrays and NaN first") from None


def parse_json(text: bytes, where: str) -> dict[str, Any]:
    """The JSON object of a header. A key given twice, NaN and infinities are refused.

    raise : ArtifactError
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: expected a JSON header, got {reason(error)}; {DAMAGED}") from None
    return as_dict(value, where)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("the same key twice in one object")
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"the number {constant}")


# What a header may hold. `where` says which part of which file is being read.


def as_dict(value: Any, where: str, keys: tuple[str, ...] | None = None) -> dict[str, Any]:
    """A JSON object, with exactly these keys if they are given."""
    if not isinstance(value, dict):
        raise ArtifactError(f"{where}: expected an object, got {type(value).__name__}; {DAMAGED}")
    if keys is not None and set(value) != set(keys):
        raise ArtifactError(
            f"{where}: expected the keys {', '.join(sorted(keys))}, got {shown(sorted(value))}; {DAMAGED}"
        )
    return value


def as_list(value: Any, where: str, max_length: int) -> list[Any]:
    """A JSON list of at most `max_length` values."""
    if not isinstance(value, list):
        raise ArtifactError(f"{where}: expected a list, got {type(value).__name__}; {DAMAGED}")
    if len(value) > max_length:
        raise ArtifactError(f"{where}: expected at most {max_length} values, got {len(value)}; {DAMAGED}")
    return value


def as_name(value: Any, where: str) -> str:
    """A name that fits on a line."""
    if not isinstance(value, str) or len(value) > MAX_NAME_LENGTH or len(value.splitlines()) > 1 or "\0" in value:
        raise ArtifactError(
            f"{where}: expected a name of one line, at most {MAX_NAME_LENGTH} characters, got {shown(value)}; {DAMAGED}"
        )
    return value


def as_int(value: Any, where: str, low: int, high: int) -> int:
    """An integer from low to high, both included."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ArtifactError(f"{where}: expected an integer from {low} to {high}, got {shown(value)}; {DAMAGED}")
    return value


def as_choice(value: Any, where: str, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise ArtifactError(f"{where}: expected one of {', '.join(choices)}, got {shown(value)}; {DAMAGED}")
    return value


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, and short."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
