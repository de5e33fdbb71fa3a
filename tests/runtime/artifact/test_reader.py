"""Opening: every kind of damaged or hostile file is refused in one line, before memory is spent on it."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alula.runtime.artifact import open_artifact
from alula.runtime.artifact.format import FIELDS, HEADER_SIZE
from alula.runtime.errors import ArtifactError

from .samples import parts, sections, signed, write_sample


@pytest.fixture
def sample(tmp_path: Path) -> bytes:
    return write_sample(tmp_path / "sample.alula")


def refusal(path: Path, content: bytes) -> str:
    """The one line with which a file is refused, at opening or when its constants are decoded."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError) as caught:
            artifact = open_artifact(path)
            for graph in artifact.graphs.values():
                for name in graph.constants:
                    graph.constants[name]
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "expected" in message and "got" in message
    return message


def test_files_that_are_no_artifacts_are_refused(tmp_path: Path, sample: bytes) -> None:
    path = tmp_path / "m.alula"
    with pytest.raises(ArtifactError, match="No such file"):
        open_artifact(path)
    with pytest.raises(ArtifactError, match="a folder or a device"):
        open_artifact(tmp_path)
    with pytest.raises(ArtifactError, match="null"):
        open_artifact("a\0b")
    assert "0 bytes" in refusal(path, b"")
    assert "PK" in refusal(path, b"PK\3\4" + bytes(100))
    assert "truncated" in refusal(path, sample[:-1])
    assert "truncated" in refusal(path, sample + b"\0")
    assert "truncated" in refusal(path, sample[:200])
    assert "checksum" in refusal(path, sample[:-1] + bytes([sample[-1] ^ 1]))


def test_a_newer_version_says_update(tmp_path: Path, sample: bytes) -> None:
    document, _ = parts(sample)
    assert "update alula" in refusal(tmp_path / "m.alula", signed(document, sections(sample), version=2))
    assert "got 0" in refusal(tmp_path / "m.alula", signed(document, sections(sample), version=0))


def test_signing_the_same_content_again_is_accepted(tmp_path: Path, sample: bytes) -> None:
    document, _ = parts(sample)
    (tmp_path / "m.alula").write_bytes(signed(document, sections(sample)))
    assert len(open_artifact(tmp_path / "m.alula").tensors) == 8


@pytest.mark.parametrize("field", [3, 4])
@pytest.mark.parametrize("value", [0, 1, 1 << 23, 1 << 31, 1 << 60, (1 << 64) - 1])
def test_lengths_that_the_file_does_not_have_are_refused(tmp_path: Path, sample: bytes, field: int, value: int) -> None:
    fields = list(FIELDS.unpack(sample[: FIELDS.size]))
    fields[field] = value
    refusal(tmp_path / "m.alula", FIELDS.pack(*fields) + sample[FIELDS.size :])


@pytest.mark.parametrize(
    "text",
    [
        b"{", b"[]", b"\xff\xfe", b'{"graphs":[],"metadata":{},"tensors":[]}', b'{"graphs":NaN}', b'{"a":1,"a":2}', b"[" * 100_000,
        b'{"graphs":' + b'[{"a":' * 5000 + b"1", b"9" * 10_000, b'{"graphs":[],"metadata":[],"tensors":[]}', b'{"x":1e999}',
    ],
    ids=lambda text: text[:20].decode("latin-1"),
)  # fmt: skip
def test_headers_that_are_no_header_are_refused(tmp_path: Path, text: bytes) -> None:
    refusal(tmp_path / "m.alula", signed(text, []))


def test_bytes_between_and_behind_sections_are_refused(tmp_path: Path, sample: bytes) -> None:
    path = tmp_path / "m.alula"
    document, _ = parts(sample)
    assert "end with the file" in refusal(path, signed(document, sections(sample), tail=bytes(64)))
    content = bytearray(signed(document, sections(sample)))
    gap = HEADER_SIZE + FIELDS.unpack(content[: FIELDS.size])[3]
    assert gap % 64, "the sample's header happens to end where a section may begin; change the sample"
    content[gap] = 1
    assert "zeros before" in refusal(path, bytes(content))


def tensor(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Change the codebook-coded tensor of the sample."""

    def change(document: dict[str, Any]) -> None:
        next(t for t in document["tensors"] if t["encoding"] == "codebook").update(changes)

    return change


def graph(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Change the first graph of the sample."""
    return lambda document: document["graphs"][0].update(changes)


def first_node(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Change the convolution of the sample."""
    return lambda document: document["graphs"][0]["nodes"][0].update(changes)


def cycle(document: dict[str, Any]) -> None:
    nodes = document["graphs"][0]["nodes"]
    nodes[0]["inputs"][0], nodes[2]["outputs"] = "y2", ["y2"]
    document["graphs"][0]["outputs"] = ["y2"]


def deep_fused(document: dict[str, Any]) -> None:
    inner = document["graphs"][0]["nodes"][0]["fused"][0]
    inner["fused"] = [copy.deepcopy(inner)]


CRAFTED: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("huge shape", tensor(shape=[1 << 60]), "0 to 2147483647"),
    ("huge product", tensor(shape=[(1 << 31) - 1] * 8), "at most 4294967296 elements"),
    ("empty yet huge", tensor(shape=[0, (1 << 31) - 1, (1 << 31) - 1]), "at most 4294967296 elements"),
    ("4 GiB of codes", tensor(shape=[1 << 16, 1 << 16]), "bytes for"),
    ("negative dimension", tensor(shape=[-128, -10]), "0 to 2147483647"),
    ("float dimension", tensor(shape=[128.0, 10]), "an integer"),
    ("bool dimension", tensor(shape=[True, 10]), "an integer"),
    ("rank 9", tensor(shape=[1] * 9), "at most 8"),
    ("other shape", tensor(shape=[128, 11]), "lanes"),
    ("unknown dtype", tensor(dtype="complex64"), "expected one of"),
    ("other dtype", tensor(dtype="float64"), ""),
    ("no bits", tensor(bits=0, values=1), "1 to 8 bits"),
    ("9 bits", tensor(bits=9), "0 to 8"),
    ("5 bits", tensor(bits=5), ""),
    ("more values than bits", tensor(values=17), "0 to 16"),
    ("fewer values", tensor(values=3), ""),
    ("axis", tensor(axis=2), "-1 to 1"),
    ("affine", tensor(encoding="affine"), "the keys"),
    ("raw", tensor(encoding="raw"), "the keys"),
    ("zip", tensor(coding="zip"), "expected one of"),
    ("plain", tensor(coding="plain"), "bytes for"),
    ("size beyond the file", tensor(size=1 << 60), "an integer"),
    ("negative size", tensor(size=-1), "an integer"),
    ("smaller size", tensor(size=64), ""),
    ("unknown key", tensor(offset=0), "the keys"),
    ("tensors a dict", lambda d: d.update(tensors={}), "a list"),
    ("tensor a number", lambda d: d["tensors"].__setitem__(0, 7), "an object"),
    ("too many tensors", lambda d: d.update(tensors=[{}] * 70_000), "at most 65536"),
    ("unused tensor", lambda d: d["graphs"].pop(), "every tensor"),
    ("the same graph twice", lambda d: d["graphs"].append(d["graphs"][0]), "twice"),
    ("too many graphs", lambda d: d.update(graphs=d["graphs"] * 40), "at most 64"),
    ("cycle", cycle, "cycle"),
    ("unknown op", first_node(op="Konv"), "Conv"),
    ("unknown attribute", first_node(attrs={"stride": [1, 1]}), "attributes"),
    ("attribute of another kind", first_node(attrs={"group": "1"}), "group"),
    ("attributes a list", first_node(attrs=[]), "an object"),
    ("no inputs", first_node(inputs=[]), "inputs of Conv, got 0"),
    ("input a number", first_node(inputs=[1, 2]), "a name"),
    ("no outputs", first_node(outputs=[]), "one output or more"),
    ("long name", first_node(name="n" * 5000), "at most 1024"),
    ("name of two lines", first_node(name="n\nm"), "a name"),
    ("fused in fused", deep_fused, "a node with op"),
    (
        "fused convolution",
        first_node(fused=[{"op": "Conv", "inputs": ["a|body", "weight"], "outputs": ["a"]}]),
        "element-wise",
    ),
    ("unknown node key", first_node(domain="x"), "got the keys"),
    ("output of nothing", graph(outputs=["z"]), "to be computed"),
    ("constant out of range", graph(constants={"weight": 99}), "an integer"),
    ("constant of a wrong index", graph(constants={"weight": -1}), "an integer"),
    (
        "input named as a constant",
        graph(inputs=[{"name": "bias", "dtype": "float32", "shape": [1]}]),
        "names of their own",
    ),
    ("input of rank 9", graph(inputs=[{"name": "x", "dtype": "float32", "shape": [1] * 9}]), "at most 8"),
    ("too many nodes", graph(nodes=[{}] * 70_000), "at most 65536"),
    ("unknown graph key", graph(code="import os"), "the keys"),
    ("unknown key", lambda d: d.update(code="import os"), "the keys"),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in CRAFTED], ids=[case[0] for case in CRAFTED])
def test_crafted_headers_are_refused(
    tmp_path: Path, sample: bytes, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    document, _ = parts(sample)
    change(document)
    payloads = sections(sample)
    said = refusal(tmp_path / "m.alula", signed(document, payloads))
    assert message in said


def test_many_names_for_one_large_tensor_count_each_time(tmp_path: Path) -> None:
    entry = {"coding": "plain", "crc32": 0, "dtype": "float32", "encoding": "raw", "shape": [1 << 18], "size": 1 << 20}
    constants = {f"c{i}": 0 for i in range(5000)}
    body = {"constants": constants, "inputs": [], "name": "g", "nodes": [], "outputs": ["c0"]}
    document = {"graphs": [body], "metadata": {}, "tensors": [entry]}
    said = refusal(tmp_path / "m.alula", signed(document, [np.zeros(1 << 18, np.float32).tobytes()]))
    assert "at most 4294967296 bytes of constants" in said


def test_the_digest_is_checked_on_demand(tmp_path: Path, sample: bytes) -> None:
    import zlib

    path = tmp_path / "m.alula"
    document, _ = parts(sample)
    content = bytearray(signed(document, sections(sample)))
    content[40] ^= 1  # within the digest
    size = FIELDS.unpack(content[: FIELDS.size])[3]
    crc = zlib.crc32(content[HEADER_SIZE : HEADER_SIZE + size], zlib.crc32(content[: FIELDS.size]))
    content[64:68] = crc.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="expected the digest"):
        open_artifact(path).check_digest()


def test_the_header_is_json_that_anyone_can_read(sample: bytes) -> None:
    document, _ = parts(sample)
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    assert sample[HEADER_SIZE : HEADER_SIZE + len(text)] == text
