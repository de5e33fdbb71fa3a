"""Update rules: which parameters they name, and that the frozen rest costs nothing."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import GraphError
from alula.runtime.graph import Graph
from alula.runtime.train import SGD, Trainer
from tests.runtime.train.digits import network


@pytest.fixture(scope="module")
def graph() -> Graph:
    return network("resnet20-cifar")


def _batch() -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, 2)


def _chosen(graph: Graph, update: str) -> set[str]:
    return set(Trainer(graph, update=update, threads=1).trained)


def test_rules_name_parameters(graph: Graph) -> None:
    everything = _chosen(graph, "all")
    norms, biases = _chosen(graph, "norm"), _chosen(graph, "bias")
    assert len(norms) == 2 * 21 and len(biases) == 22 and biases - norms == {"fc.bias"}
    assert _chosen(graph, "last:1") == {"fc.weight", "fc.bias"}
    assert _chosen(graph, "fc") == {"fc.weight", "fc.bias"} == _chosen(graph, "fc.*")
    assert _chosen(graph, "last:22") == everything
    assert _chosen(graph, "bias, fc.weight") == biases | {"fc.weight"}
    assert _chosen(graph, "last:2") > _chosen(graph, "last:1")


@pytest.mark.parametrize("update", ["bias", "norm", "last:2", "fc", "layer1*"])
def test_only_what_is_named_changes_and_gradients_are_those_of_all(graph: Graph, update: str) -> None:
    own = Trainer(graph, SGD(0.1), update=update, batch_statistics=True, threads=1)
    whole = Trainer(graph, SGD(0.1), threads=1)
    x, labels = _batch()
    expected = whole.gradients(x, labels)
    for name, gradient in own.gradients(x, labels).items():
        assert np.abs(gradient - expected[name]).max() <= 1e-4 * max(np.abs(expected[name]).max(), 1e-4), name
    own.step(x, labels)
    constants = own.trained_graph().constants
    for name in whole.trained:
        assert np.array_equal(constants[name], own.graph.constants[name]) == (name not in own.trained), name


def test_frozen_normalisations_are_folded(graph: Graph) -> None:
    own, whole = Trainer(graph, SGD(0.1), update="last:1", threads=1), Trainer(graph, SGD(0.1), threads=1)
    x, labels = _batch()
    before = own.model()(x)
    few, all_ = own.program(x), whole.program(x)
    assert not [node for node in few.network.nodes if node.op.startswith("BatchNorm")]
    assert few.arena_bytes < 0.5 * all_.arena_bytes and few.macs < 0.4 * all_.macs
    step = own.step(x, labels)
    assert np.allclose(step.outputs[0], before, rtol=1e-3, atol=1e-4)  # the frozen part answers as in inference
    assert not np.allclose(own.model()(x), before, rtol=1e-3, atol=1e-4)


def test_a_rule_that_matches_nothing_lists_the_choices(graph: Graph) -> None:
    for update, text in (
        ("stem.*", "expected a rule that matches parameters .* got 'stem"),
        ("last:0", "expected last:1 to last:22"),
        ("last:99", "expected last:1 to last:22"),
        ("", "update: expected rules"),
    ):
        with pytest.raises(GraphError, match=text) as caught:
            Trainer(graph, update=update, threads=1)
        assert "\n" not in str(caught.value)
