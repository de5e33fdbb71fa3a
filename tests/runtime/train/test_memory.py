"""Memory of a step: predicted before it runs, kept within a budget by computing again, the same bits."""

from __future__ import annotations

import gc
import re
import tracemalloc

import numpy as np
import pytest

from alula.runtime.errors import MemoryBudgetError
from alula.runtime.graph import Array, Graph, Node
from alula.runtime.ops.contract import find
from alula.runtime.train import SGD, Trainer, recompute
from alula.runtime.train.network import by_depth
from tests.runtime.train.digits import network

NUMPY = [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]


def _batch(size: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((size, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, size)


def _trainer(graph: Graph, **options: int) -> Trainer:
    return Trainer(graph, SGD(0.05, 0.9), threads=1, **options)  # type: ignore[arg-type]


def _arrays_bytes() -> int:
    gc.collect()
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(NUMPY).traces)


@pytest.mark.parametrize("name", ["resnet20-cifar", "mobilenetv2-cifar"])
def test_what_a_step_takes_is_predicted_and_does_not_grow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALULA_CHECK", "0")  # checks take memory of their own
    graph = network(name)
    batch = _batch(4)
    _trainer(graph).step(*batch)  # what is loaded once
    tracemalloc.start()
    try:
        before = _arrays_bytes()
        trainer = _trainer(graph)
        predicted = trainer.program(batch[0]).memory.total
        trainer.step(*batch)
        used = _arrays_bytes() - before
        assert abs(predicted - used) <= 0.05 * used
        trainer.step(*batch)
        after = _arrays_bytes()
        for _ in range(3):
            trainer.step(*batch)
        assert _arrays_bytes() == after
    finally:
        tracemalloc.stop()


def test_a_budget_is_kept_and_the_weights_are_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = network("resnet20-cifar")
    batch = _batch(4)
    with monkeypatch.context() as patch:  # beside a plan that keeps the layers that are cheap to make
        patch.setattr(recompute, "LIGHT_WORK_RATIO", 0.0)
        whole = _trainer(graph).program(batch[0]).memory
    with pytest.raises(MemoryBudgetError, match="at the least") as caught:
        _trainer(graph, max_bytes=1000).step(*batch)
    assert "\n" not in str(caught.value)
    found = re.search(r"got ([\d,]+) at the least", str(caught.value))
    assert found
    least = int(found.group(1).replace(",", ""))
    assert least < 0.8 * whole.total
    for budget in (least, (least + whole.total) // 2):
        tight = _trainer(graph, max_bytes=budget)
        assert tight.program(batch[0]).memory.total <= budget
        free = _trainer(graph)
        for _ in range(2):
            assert tight.step(*batch).loss == free.step(*batch).loss
        expected = free.values()
        for name, value in tight.values().items():
            assert np.array_equal(value, expected[name]), name
    with pytest.raises(MemoryBudgetError):
        _trainer(graph, max_bytes=least - 1).step(*batch)


def test_layers_that_make_much_of_little_are_computed_again_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, batch = network("resnet20-cifar"), _batch(4)
    lean = _trainer(graph)
    memory = lean.program(batch[0]).memory.activations
    losses = [lean.step(*batch).loss for _ in range(2)]
    monkeypatch.setattr(recompute, "LIGHT_WORK_RATIO", 0.0)
    rich = _trainer(graph)
    assert memory < 0.9 * rich.program(batch[0]).memory.activations
    assert [rich.step(*batch).loss for _ in range(2)] == losses
    expected = rich.values()
    assert all(np.array_equal(value, expected[name]) for name, value in lean.values().items())


def test_the_shorter_of_two_branches_is_differentiated_last() -> None:
    nodes = _trainer(network("resnet20-cifar")).program(_batch(2)[0]).network.nodes
    order = [node.outputs[0] for node in nodes if node.op == "ConvWeightGrad"]
    longer, shorter = (order.index(f"layer2.0.{name}.weight|grad") for name in ("conv2", "shortcut.0"))
    assert longer < shorter


def test_nodes_by_depth_follow_what_they_read() -> None:
    attrs = find("Relu", "").make_attrs({}, "")
    links = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "")]
    nodes = [Node("Relu", (x,), (y,), attrs, f"{x}{y}") for x, y in links]
    assert [node.name for node in by_depth(nodes)] == ["ab", "a", "bc", "cd"]


def test_a_gradient_is_used_before_the_next_one_is_made() -> None:
    trainer = _trainer(network("resnet20-cifar"))
    nodes = trainer.program(_batch(2)[0]).network.nodes
    alive = most = 0
    for node in nodes:
        alive += node.op == "ConvWeightGrad"
        alive -= node.op == "SGDUpdate" and len(trainer.graph.constants.spec(node.inputs[0]).dims) == 4
        most = max(most, alive)
    assert alive == 0 and most <= 2  # two where a shortcut joins


def test_what_is_not_kept_is_not_computed_again_at_a_cost() -> None:
    graph, (x, _) = network("mobilenetv2-cifar"), _batch(2)
    for update in ("last:1", "bias", "norm"):
        trainer = Trainer(graph, SGD(0.05), update=update, threads=1)
        forward = [node for node in trainer.program(x).network.nodes if node.op == "Conv"]
        assert len({node.inputs for node in forward}) == len(forward) == 52, update
