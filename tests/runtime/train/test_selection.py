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


@pytest.mark.parametrize("name", ["resnet20-cifar", "mobilenetv2-cifar"])
def test_a_part_of_the_channels_is_trained_as_if_all_were(name: str) -> None:
    net = network(name)
    whole = Trainer(net, SGD(0.1), update="all", batch_statistics=False, threads=1)
    part = Trainer(net, SGD(0.1), update="all:0.25", batch_statistics=False, threads=1)
    x, labels = _batch()
    gradients = whole.gradients(x, labels)
    assert np.isclose(part.step(x, labels).loss, whole.step(x, labels).loss, rtol=1e-4)
    trained, before, expected = part.trained_graph().constants, part.graph.constants, whole.trained_graph().constants
    divided = 0
    for weight in whole.trained:
        changed = trained[weight] != before[weight]
        close = np.abs(trained[weight] - expected[weight]) <= 5e-3 * max(np.abs(0.1 * gradients[weight]).max(), 1e-4)
        if changed.ndim > 1 and weight not in part.trained:
            axis = 1 if changed.ndim == 2 else changed.ndim - 1
            rows = changed.any(axis=tuple(d for d in range(changed.ndim) if d != axis))
            assert 0 < rows.sum() <= max(1, round(0.25 * len(rows))), weight  # fewer where a ReLU let nothing through
            assert close.take(np.flatnonzero(rows), axis).all(), weight
            divided += 1
        else:
            assert close.all(), weight
    assert divided >= 20
    assert part.program(x).memory.variables < 0.5 * whole.program(x).memory.variables


def test_a_part_of_the_channels_keeps_less_for_the_backward_pass(graph: Graph) -> None:
    x, _ = _batch()
    whole, part = (
        Trainer(graph, SGD(0.1), update=f"layer*.conv*{f}", batch_statistics=False, threads=1) for f in ("", ":0.125")
    )
    assert part.program(x).memory.activations < 0.8 * whole.program(x).memory.activations
    assert part.program(x).macs < 0.8 * whole.program(x).macs


def test_parts_go_through_a_state(graph: Graph) -> None:
    one, other = (Trainer(graph, SGD(0.1, momentum=0.9), update="layer3*:0.5,fc", threads=1) for _ in range(2))
    x, labels = _batch()
    one.step(x, labels)
    other.restore(one.state())
    assert one.step(x, labels).loss == other.step(x, labels).loss
    ours, theirs = one.trained_graph().constants, other.trained_graph().constants
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("rule", ["fc:0.0", "fc:1.5", "layer*:2.0"])
def test_a_fraction_out_of_range_is_refused(graph: Graph, rule: str) -> None:
    with pytest.raises(GraphError, match="expected a part of the channels above 0"):
        Trainer(graph, update=rule, threads=1)
