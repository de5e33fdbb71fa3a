"""A file that is to be trained further is written without the host, byte for byte as the host packs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import alula
from alula.host.pack import pack
from alula.runtime.artifact import open_artifact, write_artifact, write_trainable
from alula.runtime.errors import ArtifactError
from alula.runtime.graph import Arrays
from alula.runtime.train import SGD, Trainer
from tests.runtime.train.digits import network


@pytest.mark.parametrize("name", ["lenet-5", "resnet20-cifar"])
def test_a_trainable_file_is_that_of_the_host(name: str, tmp_path: Path) -> None:
    graph, metadata = network(name), {"training": {"epoch": 3}}
    written = write_trainable(tmp_path / "a.alula", {"net": graph}, metadata)
    pack({"net": graph}, tmp_path / "b.alula", metadata=metadata, trainable=True)
    assert (tmp_path / "a.alula").read_bytes() == (tmp_path / "b.alula").read_bytes()
    assert written.trainable and written.metadata == {**metadata, "trainable": True}


def test_a_trained_network_keeps_every_bit_and_goes_on_from_its_file(tmp_path: Path) -> None:
    trainer = Trainer(network("resnet20-cifar"), SGD(1e-3), threads=1)
    graph = trainer.trained_graph()
    write_trainable(tmp_path / "net.alula", {graph.name: graph})
    stored = open_artifact(tmp_path / "net.alula").graphs[graph.name]
    assert any(node.op == "BatchNormalization" for node in stored.nodes)
    assert all(stored.constants[name].tobytes() == graph.constants[name].tobytes() for name in stored.constants)
    again = alula.load(tmp_path / "net.alula", threads=1).trainer(optimizer=SGD(1e-3))
    assert again.trained == trainer.trained


def test_a_file_that_is_only_run_is_not_trainable(tmp_path: Path) -> None:
    graph = network("lenet-5")
    assert not write_artifact(tmp_path / "net.alula", {graph.name: graph}).trainable


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    graph = network("lenet-5")
    name = max(graph.constants, key=lambda name: graph.constants.spec(name).size)
    broken = np.full(graph.constants.spec(name).dims, np.inf, np.float32)
    arrays = Arrays({**{n: graph.constants[n] for n in graph.constants}, name: broken})
    with pytest.raises(ArtifactError, match="expected finite weights, got"):
        write_trainable(tmp_path / "net.alula", {graph.name: replace(graph, constants=arrays)})
    assert not (tmp_path / "net.alula").exists()
