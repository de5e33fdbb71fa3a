"""Small graphs and files for the tests of the artifact, and a way to sign a file that was changed on purpose."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.artifact import Encoded, write_artifact
from alula.runtime.artifact.encodings import encode_affine, encode_codebook
from alula.runtime.artifact.format import CHECK, FIELDS, HEADER_SIZE, MAGIC, VERSION
from alula.runtime.graph import Arrays, Graph, Node, TensorSpec
from alula.runtime.ops import find


def node(op: str, inputs: str, outputs: str, fused: tuple[Node, ...] = (), **attrs: Any) -> Node:
    """A node with blank-separated names."""
    return Node(
        op, tuple(inputs.split()), tuple(outputs.split()), find(op, op).make_attrs(attrs, op), f"{op}.{outputs}", fused
    )


def small_graph(seed: int = 0, name: str = "reader") -> Graph:
    """Conv with a fused Relu, then Flatten and Gemm, with a free batch; constants of several dtypes."""
    generator = np.random.default_rng(seed)
    constants = Arrays(
        weight=generator.normal(size=(8, 3, 3, 4)).astype(np.float32),
        bias=generator.normal(size=8).astype(np.float32),
        matrix=generator.normal(size=(128, 10)).astype(np.float32),
        shape=np.array([-1, 128], np.int64),
    )
    conv = node(
        "Conv", "x weight bias", "a", (node("Relu", "a|body", "a"),),
        kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1],
    )  # fmt: skip
    nodes = (conv, node("Reshape", "a shape", "b"), node("Gemm", "b matrix", "y"))
    return Graph(name, {"x": TensorSpec(("batch", 4, 4, 4))}, ("y",), nodes, constants)


def small_encodings(graph: Graph) -> dict[str, Encoded]:
    """Codes of both kinds, long enough for Huffman."""
    generator = np.random.default_rng(1)
    weight, matrix = graph.constants.spec("weight"), graph.constants.spec("matrix")
    codes = np.clip(generator.normal(8, 2, matrix.dims), 0, 15).astype(np.uint8)
    affine = np.clip(generator.normal(128, 5, weight.dims), 0, 255).astype(np.uint8)
    return {
        "matrix": encode_codebook(matrix, codes, generator.normal(size=16).astype(np.float32)),
        "weight": encode_affine(weight, affine, np.full(8, 0.1, np.float32), np.full(8, 128, np.uint8), axis=0),
    }


def write_sample(path: Path) -> bytes:
    """A file of two graphs; its bytes."""
    first, second = small_graph(), small_graph(5, "finder")
    write_artifact(
        path, {"reader": first, "finder": second}, {"labels": ["a", "ß"]}, {"reader": small_encodings(first)}
    )
    return path.read_bytes()


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """(the header's JSON value, all bytes behind it up to the first section and on)."""
    size = FIELDS.unpack(content[: FIELDS.size])[3]
    return json.loads(content[HEADER_SIZE : HEADER_SIZE + size]), content[HEADER_SIZE + size :]


def sections(content: bytes) -> list[bytes]:
    """The payload of every tensor."""
    document, _ = parts(content)
    at = HEADER_SIZE + FIELDS.unpack(content[: FIELDS.size])[3]
    found = []
    for entry in document["tensors"]:
        at = -(-at // 64) * 64
        found.append(content[at : at + entry["size"]])
        at += entry["size"]
    return found


def signed(header: bytes | dict[str, Any], payloads: list[bytes], tail: bytes = b"", version: int = VERSION) -> bytes:
    """A file with right checksums over whatever content: what a hostile writer can make."""
    if isinstance(header, dict):
        entries = header.get("tensors")
        for entry, payload in zip(entries if isinstance(entries, list) else [], payloads, strict=False):
            if isinstance(entry, dict) and "crc32" in entry:
                entry["crc32"] = zlib.crc32(payload)
        header = json.dumps(header).encode()
    body = header
    for payload in payloads:
        body += bytes(-(HEADER_SIZE + len(body)) % 64) + payload
    body += tail
    fields = FIELDS.pack(MAGIC, version, 0, len(header), HEADER_SIZE + len(body), hashlib.sha256(body).digest())
    return fields + CHECK.pack(zlib.crc32(header, zlib.crc32(fields)), 0) + body
