"""What a network of classes looks like, and what is said of others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alula.runtime.errors import GraphError
from alula.runtime.graph import TensorSpec
from alula.runtime.train.classes import Images, count_classes
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
