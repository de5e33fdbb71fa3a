"""Open `.alula` files. Everything is checked when a file is opened, except the codes of a tensor: those are checked when it is decoded."""

from __future__ import annotations

import math
import mmap
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from alula.runtime.artifact.encodings import CODINGS, ENCODINGS, Encoded, decode
from alula.runtime.artifact.format import (
    CHECK,
    DAMAGED,
    FIELDS,
    HEADER_SIZE,
    MAGIC,
    MAX_DECODED_SIZE,
    MAX_GRAPHS,
    MAX_HEADER_SIZE,
    MAX_TENSORS,
    TRAINABLE,
    VERSION,
    align,
    as_choice,
    as_dict,
    as_int,
    as_list,
    parse_json,
)
from alula.runtime.artifact.graph_json import constants_from_json, graph_from_json, spec_from_json
from alula.runtime.errors import AlulaError, ArtifactError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph, TensorSpec


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One constant of one graph, as the file stores it."""

    graph: str
    name: str
    spec: TensorSpec
    encoding: str  # in words
    bits_per_weight: float
    stored_size: int  # bytes


class PackedConstants:
    """The constants of a graph, each decoded when it is asked for, and not kept."""

    def __init__(self, tensors: dict[str, Encoded], where: str) -> None:
        self._tensors = tensors
        self._where = where

    def __getitem__(self, name: str) -> Array:
        return decode(self._tensors[name], f"{self._where}: tensor {name}")

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def spec(self, name: str) -> TensorSpec:
        """Shape and dtype, without decoding."""
        return self._tensors[name].spec

    def encoded(self, name: str) -> Encoded:
        """The tensor as it is stored."""
        return self._tensors[name]


@frozen
class Artifact:
    """An open file: its graphs, whose constants are decoded on access, and its metadata."""

    path: str
    graphs: dict[str, Graph]
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]
    size: int  # bytes of the file
    digest: str  # SHA-256 of all but the fixed header
    _data: memoryview = field(repr=False)

    @property
    def trainable(self) -> bool:
        """Whether its graphs still have what inference folds."""
        return bool(self.metadata.get(TRAINABLE))

    def check_digest(self) -> None:
        """Compute the digest of the whole file; opening it compares the checksums alone.

        raise : ArtifactError if it is another
        """
        import hashlib

        got = hashlib.sha256(self._data[HEADER_SIZE:]).hexdigest()
        if got != self.digest:
            raise ArtifactError(f"{self.path}: expected the digest {self.digest[:16]}, got {got[:16]}; {DAMAGED}")


def open_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Open a file and check it: frame, checksums, header, graphs.

    raise : ArtifactError, in one line, whatever is wrong with the file
    """
    where = os.fspath(path)
    data = _map(where)
    header, digest = _read_frame(data, where)
    try:
        fields = as_dict(parse_json(header, where), where, ("graphs", "metadata", "tensors"))
        tensors = _read_tensors(fields["tensors"], data, HEADER_SIZE + len(header), where)
        graphs, table = _read_graphs(fields["graphs"], tensors, where)
        return Artifact(
            where, graphs, as_dict(fields["metadata"], f"{where}: metadata"), tuple(table), len(data), digest, data
        )
    except ArtifactError:
        raise
    except AlulaError as error:  # the graph's own checks know no file
        raise ArtifactError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None


def _map(where: str) -> memoryview:
    """The bytes of a file, not yet read into memory."""
    try:
        if not stat.S_ISREG(os.stat(where).st_mode):
            raise ArtifactError(f"{where}: expected a file, got a folder or a device; check the path")
        with open(where, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size < HEADER_SIZE:
                raise ArtifactError(
                    f"{where}: expected an .alula file, got {size} bytes; it is truncated or another kind of file"
                )
            return memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise ArtifactError(f"{where!a:.200}: expected an .alula file, got {reason}; check the path") from None


def _read_frame(data: memoryview, where: str) -> tuple[bytes, str]:
    """The JSON text and the digest, after the checks of the fixed header."""
    magic, version, flags, json_size, file_size, digest = FIELDS.unpack(data[: FIELDS.size])
    if magic != MAGIC:
        raise ArtifactError(
            f"{where}: expected an .alula file, got one that begins with {magic!r}; pack the model first"
        )
    if version > VERSION:
        raise ArtifactError(f"{where}: expected format version {VERSION}, got {version}, a newer one; update alula")
    if version != VERSION or flags:
        raise ArtifactError(f"{where}: expected format version {VERSION}, got {version} with flags {flags}; {DAMAGED}")
    if file_size != len(data):
        raise ArtifactError(
            f"{where}: expected {file_size} bytes, got {len(data)}; the file is truncated, copy it again"
        )
    if not 0 < json_size <= min(MAX_HEADER_SIZE, file_size - HEADER_SIZE):
        raise ArtifactError(
            f"{where}: expected a header of at most {MAX_HEADER_SIZE} bytes, got {json_size}; {DAMAGED}"
        )
    crc, zero = CHECK.unpack(data[FIELDS.size : HEADER_SIZE])
    header = bytes(data[HEADER_SIZE : HEADER_SIZE + json_size])
    if zlib.crc32(header, zlib.crc32(data[: FIELDS.size])) != crc or zero:
        raise ArtifactError(f"{where}: expected the header's checksum {crc:08x}, got another; {DAMAGED}")
    return header, digest.hex()


def _read_tensors(value: Any, data: memoryview, end: int, where: str) -> list[Encoded]:
    """The tensor table. Sections stand in its order, with nothing between them, so that none can overlap another."""
    tensors = []
    for number, entry in enumerate(as_list(value, f"{where}: tensors", MAX_TENSORS)):
        here = f"{where}: tensor {number}"
        fields = as_dict(entry, here)
        section = _section(fields, data, end, here)
        tensors.append(_read_encoding(fields, section, here))
        end = align(end) + len(section)
    if end != len(data):
        raise ArtifactError(
            f"{where}: expected the last section to end with the file, got {len(data) - end} bytes more; {DAMAGED}"
        )
    return tensors


def _section(fields: dict[str, Any], data: memoryview, end: int, where: str) -> memoryview:
    """The bytes of a tensor: from the next multiple of 64 on, with zeros before them and the right checksum."""
    start = align(end)
    size = as_int(fields.get("size"), f"{where}: size", 0, len(data) - start)
    crc = as_int(fields.get("crc32"), f"{where}: crc32", 0, 0xFFFFFFFF)
    section = data[start : start + size]
    if any(data[end:start]):
        raise ArtifactError(f"{where}: expected zeros before its section, got others; {DAMAGED}")
    if zlib.crc32(section) != crc:
        raise ArtifactError(f"{where}: expected the checksum {crc:08x}, got another; {DAMAGED}")
    return section


# The keys of a tensor beside those of every tensor
EXTRA_KEYS = {
    ("raw", "plain"): (), ("f16", "plain"): (), ("raw", "huffman"): ("planes",), ("f16", "huffman"): ("planes",),
    ("affine", "plain"): ("axis", "bits"), ("affine", "huffman"): ("axis", "bits"),
    ("codebook", "plain"): ("axis", "bits", "values"), ("codebook", "huffman"): ("axis", "bits", "values"),
}  # fmt: skip


def _read_encoding(fields: dict[str, Any], payload: memoryview, where: str) -> Encoded:
    """A tensor whose payload is as long as its shape and encoding ask for. Nothing is allocated here."""
    encoding = as_choice(fields.get("encoding"), f"{where}: encoding", ENCODINGS)
    coding = as_choice(fields.get("coding"), f"{where}: coding", CODINGS)
    common = ("coding", "crc32", "dtype", "encoding", "shape", "size")
    as_dict(fields, where, (*common, *EXTRA_KEYS[encoding, coding]))
    spec = spec_from_json(fields, where)
    bits = as_int(fields.get("bits", 0), f"{where}: bits", 0, 8)
    axis = as_int(fields.get("axis", -1), f"{where}: axis", -1, len(spec.shape) - 1)
    values = as_int(fields.get("values", 0), f"{where}: values", 0, 1 << bits)
    planes = tuple(
        as_int(p, f"{where}: planes", 0, 7) for p in as_list(fields.get("planes", []), f"{where}: planes", 8)
    )
    encoded = Encoded(spec, encoding, coding, payload, bits, axis, values, planes)
    if math.prod(max(dim, 1) for dim in spec.dims) > MAX_DECODED_SIZE:
        raise ArtifactError(f"{where}: expected at most {MAX_DECODED_SIZE} elements, got {spec}; {DAMAGED}")
    if encoding in ("f16", "affine") and spec.dtype != "float32" or axis >= 0 and spec.dtype != "float32":
        raise ArtifactError(f"{where}: expected float32 for {encoding} with these keys, got {spec.dtype}; {DAMAGED}")
    if encoding == "affine" and bits != 8 or encoding == "codebook" and not (bits >= 1 and values >= 1):
        raise ArtifactError(
            f"{where}: expected codes of 1 to 8 bits (affine: 8), got {bits}, {values} values; {DAMAGED}"
        )
    is_planes = list(planes) == sorted({*planes}) and planes[-1:] < (encoded.stored_itemsize,)
    if coding == "huffman" and (spec.size == 0 or not is_planes or not (planes or bits)):
        raise ArtifactError(
            f"{where}: expected rising planes of a tensor with elements, got {list(planes)}, {spec}; {DAMAGED}"
        )
    fewest = encoded.smallest_size()
    if len(payload) < fewest or coding == "plain" and len(payload) > fewest:
        raise ArtifactError(f"{where}: expected {fewest} bytes for {spec} as {encoding}, got {len(payload)}; {DAMAGED}")
    return encoded


def _read_graphs(value: Any, tensors: list[Encoded], where: str) -> tuple[dict[str, Graph], list[TensorInfo]]:
    """The graphs by name, and a line for each of their constants."""
    graphs: dict[str, Graph] = {}
    table: list[TensorInfo] = []
    used: set[int] = set()
    decoded = 0
    for number, entry in enumerate(as_list(value, f"{where}: graphs", MAX_GRAPHS)):
        here = f"{where}: graph {number}"
        constants = constants_from_json(as_dict(entry, here).get("constants"), len(tensors), here)
        used.update(constants.values())
        pool = PackedConstants({name: tensors[index] for name, index in constants.items()}, where)
        decoded += sum(pool.spec(name).nbytes for name in pool)
        if decoded > MAX_DECODED_SIZE:
            raise ArtifactError(
                f"{where}: expected at most {MAX_DECODED_SIZE} bytes of constants, got {decoded}; {DAMAGED}"
            )
        graph = graph_from_json(entry, pool, here)
        if graph.name in graphs:
            raise ArtifactError(f"{here}: expected a name of its own, got {graph.name!r} twice; {DAMAGED}")
        graphs[graph.name] = graph
        table += [_info(graph.name, name, pool.encoded(name)) for name in pool]
    if not graphs:
        raise ArtifactError(f"{where}: expected one graph or more, got none; {DAMAGED}")
    if len(used) != len(tensors):
        raise ArtifactError(
            f"{where}: expected every tensor to be some graph's, got {len(tensors) - len(used)} of none; {DAMAGED}"
        )
    return graphs, table


def _info(graph: str, name: str, encoded: Encoded) -> TensorInfo:
    words = encoded.encoding
    if encoded.bits:
        words += f" {encoded.bits} bits"
    if encoded.axis >= 0:
        words += ", by channel"
    if encoded.coding == "huffman":
        words += ", Huffman"
    return TensorInfo(graph, name, encoded.spec, words, encoded.bits_per_weight, len(encoded.payload))
