"""Write `.alula` files: completely or not at all, and with the same bytes for the same content."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alula.runtime.artifact.encodings import Encoded, encode_exact
from alula.runtime.artifact.format import (
    CHECK,
    FIELDS,
    HEADER_SIZE,
    MAGIC,
    MAX_HEADER_SIZE,
    VERSION,
    align,
    canonical_json,
)
from alula.runtime.artifact.graph_json import graph_to_json
from alula.runtime.artifact.reader import Artifact, PackedConstants, open_artifact
from alula.runtime.errors import ArtifactError
from alula.runtime.files import write_whole
from alula.runtime.graph import Graph


def write_artifact(
    path: str | os.PathLike[str],
    graphs: Mapping[str, Graph],
    metadata: Mapping[str, Any] | None = None,
    encoded: Mapping[str, Mapping[str, Encoded]] | None = None,
) -> Artifact:
    """Write graphs to one file, open it to check it, and put it in its place.

    metadata : plain JSON values: task, labels, preprocessing, provenance, the verification's result
    encoded  : graph -> constant -> how it is stored; what is left out is stored exactly, in the smallest way
    return   : the file, opened
    raise    : ArtifactError if the content does not fit the format, OSError if the disk does not take it
    """
    target = Path(path)
    content = _serialise(str(target), graphs, metadata or {}, encoded or {})
    try:
        write_whole(target, lambda handle: handle.write(content), open_artifact)
    except ArtifactError as error:
        told = re.sub(r"\S*\.partial", lambda _: str(target), str(error))  # named as the caller knows it
        raise ArtifactError(told) from error
    return open_artifact(target)


def rewrite_metadata(artifact: Artifact, path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> Artifact:
    """The same graphs and the same stored tensors with other metadata."""
    encoded: dict[str, dict[str, Encoded]] = {}
    for name, graph in artifact.graphs.items():
        pool = graph.constants
        assert isinstance(pool, PackedConstants)
        encoded[name] = {constant: pool.encoded(constant) for constant in pool}
    return write_artifact(path, artifact.graphs, metadata, encoded)


def _serialise(
    where: str, graphs: Mapping[str, Graph], metadata: Mapping[str, Any], encoded: Mapping[str, Mapping[str, Encoded]]
) -> bytes:
    """The bytes of a file. Equal tensors are stored once."""
    index: dict[tuple[bytes, bytes], int] = {}
    payloads: list[bytes | memoryview] = []
    entries: list[dict[str, Any]] = []

    def add(graph: Graph, name: str) -> int:
        tensor = encoded.get(graph.name, {}).get(name) or encode_exact(graph.constants[name])
        entry = _entry(tensor)
        key = (canonical_json(entry, where), hashlib.sha256(tensor.payload).digest())
        if key not in index:
            index[key] = len(entries)
            entries.append({**entry, "crc32": zlib.crc32(tensor.payload), "size": len(tensor.payload)})
            payloads.append(tensor.payload)
        return index[key]

    documents = []
    for name, graph in graphs.items():
        if name != graph.name:
            raise ArtifactError(f"{where}: expected the graph {name} to be named so, got {graph.name}; rename it first")
        documents.append(graph_to_json(graph, lambda constant, graph=graph: add(graph, constant)))  # type: ignore[misc]
    header = canonical_json({"graphs": documents, "metadata": dict(metadata), "tensors": entries}, where)
    if len(header) > MAX_HEADER_SIZE:
        raise ArtifactError(
            f"{where}: expected a header of at most {MAX_HEADER_SIZE} bytes, got {len(header)}; shorten the metadata"
        )
    body = bytearray(header)
    for payload in payloads:
        body += bytes(align(HEADER_SIZE + len(body)) - HEADER_SIZE - len(body))
        body += payload
    fields = FIELDS.pack(MAGIC, VERSION, 0, len(header), HEADER_SIZE + len(body), hashlib.sha256(body).digest())
    return fields + CHECK.pack(zlib.crc32(header, zlib.crc32(fields)), 0) + bytes(body)


def _entry(tensor: Encoded) -> dict[str, Any]:
    """What the tensor table says of a tensor, but for its section."""
    entry: dict[str, Any] = {
        "coding": tensor.coding, "dtype": tensor.spec.dtype, "encoding": tensor.encoding, "shape": list(tensor.spec.dims),
    }  # fmt: skip
    if tensor.bits:
        entry |= {"axis": tensor.axis, "bits": tensor.bits}
    if tensor.values:
        entry["values"] = tensor.values
    if tensor.encoding in ("raw", "f16") and tensor.coding == "huffman":
        entry["planes"] = list(tensor.planes)
    return entry
