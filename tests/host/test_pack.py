"""Packing: batch normalisation folded, weights quantised and nothing else, each tensor in its smallest encoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alula.host.pack import pack
from alula.runtime.artifact import open_artifact
from alula.runtime.artifact.content import weight_axes
from alula.runtime.errors import ArtifactError
from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.ops import find


def node(op: str, inputs: str, output: str, **attrs: Any) -> Node:
    return Node(op, tuple(inputs.split()), (output,), find(op, op).make_attrs(attrs, op), output)


def network(seed: int = 0, name: str = "net") -> Graph:
    """Conv, BatchNormalization, Relu, an addition of a large table, MatMul."""
    g = np.random.default_rng(seed)
    constants = Arrays(
        kernel=g.normal(size=(16, 3, 3, 8)).astype(np.float32),
        gain=g.uniform(0.1, 4, 16).astype(np.float32), shift=g.normal(size=16).astype(np.float32),
        mean=g.normal(size=16).astype(np.float32), variance=g.uniform(0.5, 2, 16).astype(np.float32),
        table=g.normal(size=(1, 8, 8, 16)).astype(np.float32),
        matrix=g.normal(size=(16, 40)).astype(np.float32),
        unused=g.normal(size=(50, 50)).astype(np.float32),
    )  # fmt: skip
    nodes = (
        node("Conv", "x kernel", "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1]),
        node("BatchNormalization", "a gain shift mean variance", "b"),
        node("Relu", "b", "c"), node("Add", "c table", "d"), node("MatMul", "d matrix", "y"),
    )  # fmt: skip
    return Graph(name, {"x": TensorSpec(("batch", 8, 8, 8))}, ("y",), nodes, constants)


def evaluate(graph: Graph, x: Array) -> Array:
    """The graph's output, node by node, by the NumPy references."""
    known: dict[str, Any] = {"": None, next(iter(graph.inputs)): x, **{n: graph.constants[n] for n in graph.constants}}
    for node in graph.nodes:
        body = Node(node.op, node.inputs, (node.body_output, *node.outputs[1:]), node.attrs)
        for part in (body, *node.fused):
            outputs = find(part.op, part.op).reference(part.attrs, *(known[n] for n in part.inputs))
            known.update(zip(part.outputs, outputs, strict=False))
    return np.asarray(known[graph.outputs[0]])


def relative_error(path: Path, bits: int | None) -> float:
    """Change of the output, over its root mean square, when the network is packed at `bits` bits."""
    graph = network()
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 8)).astype(np.float32)
    pack({"net": graph}, path, bits)
    expected, got = evaluate(graph, x), evaluate(open_artifact(path).graphs["net"], x)
    return float(np.sqrt(np.square(got - expected).mean() / np.square(expected).mean()))


def test_lossless_packing_keeps_the_answers(tmp_path: Path) -> None:
    assert relative_error(tmp_path / "m.alula", None) < 1e-6


@pytest.mark.parametrize(("bits", "limit"), [(16, 1e-3), (8, 0.02), (6, 0.06), (4, 0.25), (2, 0.8)])
def test_fewer_bits_change_the_answers_more_within_limits(tmp_path: Path, bits: int, limit: float) -> None:
    assert 1e-6 < relative_error(tmp_path / "m.alula", bits) < limit


def test_fewer_bits_make_smaller_files(tmp_path: Path) -> None:
    sizes = [pack({"net": network()}, tmp_path / "m.alula", bits).size_bytes for bits in (None, 16, 8, 6, 4, 2)]
    assert sizes == sorted(sizes, reverse=True)


def test_batch_normalisation_is_folded_and_unused_constants_left_out(tmp_path: Path) -> None:
    pack({"net": network()}, tmp_path / "m.alula")
    graph = open_artifact(tmp_path / "m.alula").graphs["net"]
    assert "BatchNormalization" not in {n.op for n in graph.nodes}
    assert not {"unused", "gain", "variance"} & set(graph.constants)


def test_only_weights_are_quantised(tmp_path: Path) -> None:
    report = pack({"net": network()}, tmp_path / "m.alula", 4)
    quantised = {t.shape for t in report.tensors if t.error_ratio}
    assert quantised == {(16, 3, 3, 8), (16, 40)}
    assert all("codebook 4 bits" in t.encoding for t in report.tensors if t.error_ratio)


def test_a_table_that_is_added_is_no_weight_and_neither_is_what_is_read_twice() -> None:
    graph = network()
    assert weight_axes(graph) == {"kernel": 0, "matrix": 1}
    read_twice = Graph("g", graph.inputs, ("z",), (*graph.nodes, node("Add", "y matrix", "z")), graph.constants)
    assert weight_axes(read_twice) == {"kernel": 0}


def test_eight_bits_take_the_smaller_of_affine_and_codebook(tmp_path: Path) -> None:
    report = pack({"net": network()}, tmp_path / "m.alula", 8)
    kinds = {t.shape: t.encoding for t in report.tensors if t.error_ratio}
    assert kinds[(16, 40)].startswith("affine 8 bits")  # a codebook of 256 values weighs more than these weights


def test_bits_can_differ_by_graph_and_imports_are_taken_as_they_are(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Imported:
        graph: Graph

    graphs = {"finder": Imported(network(1)), "reader": network(2)}
    report = pack(graphs, tmp_path / "m.alula", {"reader": 3}, {"task": "signs"})
    artifact = open_artifact(tmp_path / "m.alula")
    assert list(artifact.graphs) == ["finder", "reader"]
    assert artifact.metadata["task"] == "signs"
    assert {t.graph for t in report.tensors if t.error_ratio} == {"reader"}
    assert artifact.size == report.size_bytes < report.raw_bytes


def test_packing_twice_gives_the_same_bytes_and_progress_ends_full(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    pack({"net": network()}, tmp_path / "a.alula", 5, progress=lambda *now: told.append(now))
    pack({"net": network()}, tmp_path / "b.alula", 5)
    assert (tmp_path / "a.alula").read_bytes() == (tmp_path / "b.alula").read_bytes()
    assert [done for done, _, _ in told] == list(range(len(told)))
    assert told[-1][0] == told[-1][1]


def test_huffman_coding_can_be_left_out(tmp_path: Path) -> None:
    report = pack({"net": network()}, tmp_path / "m.alula", 4, entropy=False)
    assert not any("huffman" in t.encoding for t in report.tensors)


def test_nan_in_weights_and_odd_bits_are_refused(tmp_path: Path) -> None:
    graph = network()
    graph.constants["matrix"][3, 4] = np.nan
    with pytest.raises(ArtifactError, match=r"graph net: tensor matrix: expected finite weights, got 1"):
        pack({"net": graph}, tmp_path / "m.alula")
    for bits in (0, 9, 32):
        with pytest.raises(ArtifactError, match="1 to 8 or 16 bits"):
            pack({"net": network()}, tmp_path / "m.alula", bits)
    assert not list(tmp_path.iterdir())
