"""Writing: what is read back is what was written, byte-identical, and whole or not at all."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alula.runtime.artifact import open_artifact, rewrite_metadata, write_artifact
from alula.runtime.artifact.encodings import decode
from alula.runtime.errors import ArtifactError
from alula.runtime.graph import Arrays, Graph, TensorSpec

from .samples import node, parts, sections, small_encodings, small_graph, write_sample


def test_graphs_constants_and_metadata_come_back(tmp_path: Path) -> None:
    graph, other = small_graph(), small_graph(5, "finder")
    metadata = {"labels": ["a", "ß", "漢"], "mean": [0.5, 1e-7], "task": None}
    encoded = small_encodings(graph)
    write_artifact(tmp_path / "m.alula", {"reader": graph, "finder": other}, metadata, {"reader": encoded})
    artifact = open_artifact(tmp_path / "m.alula")
    assert artifact.metadata == metadata
    assert list(artifact.graphs) == ["reader", "finder"]
    for before, after in zip((graph, other), artifact.graphs.values(), strict=True):
        assert (after.name, after.inputs, after.outputs, after.nodes) == (
            before.name,
            before.inputs,
            before.outputs,
            before.nodes,
        )
        assert sorted(after.constants) == sorted(before.constants)
    for name, array in other.constants.items():
        assert artifact.graphs["finder"].constants[name].tobytes() == array.tobytes()
        assert artifact.graphs["finder"].constants.spec(name) == TensorSpec.of(array)
    for name, tensor in encoded.items():
        assert (artifact.graphs["reader"].constants[name] == decode(tensor, "here")).all()
    artifact.check_digest()


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_sample(tmp_path / "a.alula")
    assert write_sample(tmp_path / "b.alula") == first
    shuffled = small_graph()
    shuffled = replace(shuffled, constants=Arrays(reversed(shuffled.constants.items())))
    assert write_artifact(tmp_path / "c.alula", {"reader": shuffled}).digest == write_artifact(
        tmp_path / "d.alula", {"reader": small_graph()}
    ).digest  # fmt: skip


def test_the_bytes_are_those_of_the_specification(tmp_path: Path) -> None:
    content = write_sample(tmp_path / "m.alula")
    magic, version, flags, json_size, file_size, digest, crc, zero = struct.unpack("<8sIIQQ32sII", content[:72])
    assert (magic, version, flags, zero, file_size) == (b"\x89ALULA\r\n", 1, 0, 0, len(content))
    assert digest == hashlib.sha256(content[72:]).digest()
    assert crc == zlib.crc32(content[:64] + content[72 : 72 + json_size])
    document, _ = parts(content)
    for entry, payload in zip(document["tensors"], sections(content), strict=True):
        assert zlib.crc32(payload) == entry["crc32"]
    bias = document["tensors"][document["graphs"][0]["constants"]["bias"]]
    assert bias == {
        "coding": "plain",
        "crc32": bias["crc32"],
        "dtype": "float32",
        "encoding": "raw",
        "shape": [8],
        "size": 32,
    }


def test_equal_tensors_are_stored_once(tmp_path: Path) -> None:
    one = write_artifact(tmp_path / "one.alula", {"a": small_graph(0, "a")})
    two = write_artifact(tmp_path / "two.alula", {"a": small_graph(0, "a"), "b": small_graph(0, "b")})
    assert two.size - one.size < 1000
    assert len(two.tensors) == 2 * len(one.tensors)


def test_metadata_is_replaced_without_touching_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.alula"
    before = write_sample(path)
    rewrite_metadata(open_artifact(path), path, {"verification": {"largest_difference": 1e-6}})
    assert open_artifact(path).metadata == {"verification": {"largest_difference": 1e-6}}
    assert sections(path.read_bytes()) == sections(before)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.alula"
    before = write_sample(path)

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_artifact(path, {"reader": small_graph(9)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_content_that_the_format_has_no_room_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.alula"
    with pytest.raises(ArtifactError, match="plain JSON"):
        write_artifact(path, {"reader": small_graph()}, {"mean": np.zeros(3)})
    with pytest.raises(ArtifactError, match="plain JSON"):
        write_artifact(path, {"reader": small_graph()}, {"mean": float("nan")})
    with pytest.raises(ArtifactError, match="at most 8388608 bytes"):
        write_artifact(path, {"reader": small_graph()}, {"labels": "a" * (9 << 20)})
    with pytest.raises(ArtifactError, match="to be named so, got reader"):
        write_artifact(path, {"finder": small_graph()})
    with pytest.raises(ArtifactError, match="one graph or more"):
        write_artifact(path, {})
    nine = Graph("g", {"x": TensorSpec((1,) * 9)}, ("y",), (node("Relu", "x", "y"),))
    with pytest.raises(ArtifactError, match="at most 8 values, got 9"):
        write_artifact(path, {"g": nine})
    assert not path.exists()
