"""What a network of classes looks like, and what is said of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alula.runtime.errors import GraphError
from alula.runtime.graph import TensorSpec
from alula.runtime.train.classes import Images, count_classes
from tests.runtime.data.formats import write_ppm
from tests.runtime.train.digits import network


def test_classes_are_counted_from_the_scores() -> None:
    assert count_classes(network("lenet-5"), "net") == 10


def test_a_network_of_something_else_is_refused() -> None:
    graph = network("lenet-5")
    name = next(iter(graph.inputs))
    free = replace(graph, inputs={name: TensorSpec(("N", 1, "H", "W"), "float32")})
    with pytest.raises(GraphError, match=r"^net\.onnx: expected a network of one image of fixed size, got"):
        count_classes(free, "net.onnx")
    features = replace(graph, outputs=(next(node.outputs[0] for node in graph.nodes if node.op == "Conv"),))
    with pytest.raises(GraphError, match=r"^net\.onnx: expected scores \(N, C\), got"):
        count_classes(features, "net.onnx")


def test_a_checkpoint_knows_how_images_were_changed() -> None:
    assert str(Images(2, True, holdout=0.1)) == "pad 2, flip True, raw False, holdout 0.1"
    assert str(Images(alpha="black")) == "pad 0, flip False, raw False, holdout None, alpha black"


def test_what_the_user_should_know_of_the_data_is_said(tmp_path: Path) -> None:
    graph = network("lenet-5")
    for split, count in (("Train", 4), ("Test", 3)):
        for label in "ab":
            for number in range(count):
                write_ppm(tmp_path / split / label / f"{number}.pgm", np.full((28, 28, 1), 90, np.uint8))
    (tmp_path / "Train" / "a" / ".DS_Store").write_bytes(b"x")
    data = Images().batches(tmp_path, graph, 10, 4, 0)
    assert data.notes == (
        f"left out: 1 (hidden: {tmp_path}/Train/a/.DS_Store)",
        "channels that never change: 0; they get deviation 1 instead of 0",
    )
    assert data.test is not None and len(data.test.data) == 6
    assert Images(raw=True, holdout=0.3).batches(tmp_path, graph, 10, 2, 0).notes[1:] == ()
