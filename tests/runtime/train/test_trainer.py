"""The trainer: the same weights for the same seed and threads, what is frozen stays, gradients leave no trace."""

from __future__ import annotations

import numpy as np
import pytest

from alula.host.onnx.importer import import_onnx
from alula.host.zoo import build
from alula.runtime.errors import AlulaError, DTypeError, GraphError, ShapeError
from alula.runtime.graph import Array, Graph
from alula.runtime.train import SGD, CrossEntropy, Trainer

RECIPE = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_onnx(build("resnet20-cifar")).graph


def _batches(count: int, size: int = 4) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    return [
        (rng.standard_normal((size, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, size)) for _ in range(count)
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_steps_give_the_same_bits(graph: Graph, threads: int) -> None:
    runs = []
    for _ in range(2):
        trainer = Trainer(graph, SGD(**RECIPE), threads=threads)
        losses = [trainer.step(*batch).loss for batch in _batches(3)]
        runs.append((losses, trainer.values()))
    assert runs[0][0] == runs[1][0]
    for name, value in runs[0][1].items():
        assert np.array_equal(value, runs[1][1][name]), name


def test_the_loss_falls_on_a_batch_that_is_seen_again(graph: Graph) -> None:
    trainer = Trainer(graph, SGD(lr=0.05, momentum=0.9), threads=1)
    (batch,) = _batches(1, 8)
    losses = [trainer.step(*batch).loss for _ in range(25)]
    assert losses[-1] < 0.1 * losses[0]


def test_only_what_is_chosen_changes(graph: Graph) -> None:
    chosen = ["fc.weight", "fc.bias"]
    trainer, whole = Trainer(graph, SGD(**RECIPE), update=chosen, threads=1), Trainer(graph, SGD(**RECIPE), threads=1)
    (batch,) = _batches(1)
    before = trainer.graph.constants
    trainer.step(*batch)
    learned = trainer.trained_graph().constants
    for name in whole.trained:
        assert np.array_equal(learned[name], before[name]) != (name in chosen), name
    frozen, full = trainer.program(batch[0]), whole.program(batch[0])
    assert len(frozen.instructions) < 0.5 * len(full.instructions)
    assert frozen.macs < 0.4 * full.macs
    assert frozen.arena_bytes < full.arena_bytes


def test_gradients_change_nothing_and_are_those_of_the_step(graph: Graph) -> None:
    trainer = Trainer(graph, SGD(lr=0.5), threads=1)
    (batch,) = _batches(1)
    before = trainer.values()
    gradients = trainer.gradients(*batch)
    assert all(np.array_equal(value, before[name]) for name, value in trainer.values().items())
    trainer.step(*batch)
    for name, value in trainer.values().items():
        if name in gradients:
            assert np.allclose(before[name] - value, 0.5 * gradients[name], rtol=1e-4, atol=1e-6), name


def test_batches_of_other_sizes_share_the_weights(graph: Graph) -> None:
    trainer = Trainer(graph, SGD(**RECIPE), threads=1)
    big, small = _batches(1, 8)[0], _batches(1, 3)[0]
    first = trainer.step(*big).loss
    assert np.isfinite([first, trainer.step(*small).loss, trainer.step(*big).loss]).all()
    assert trainer.steps == 3


def test_bad_input_is_one_line(graph: Graph) -> None:
    trainer = Trainer(graph, SGD(**RECIPE), threads=1)
    x, labels = _batches(1)[0]
    for arrays in ((x,), (x, labels[:2]), (x, labels.astype(np.float32)), (x[:, :2], labels), (x, labels, labels)):
        with pytest.raises(AlulaError) as caught:
            trainer.step(*arrays)
        assert "\n" not in str(caught.value) and "expected" in str(caught.value)
    assert trainer.steps == 0
    with pytest.raises(GraphError, match=r"update: expected a rule .* got 'fc.wight'"):
        Trainer(graph, update=["fc.wight"])
    with pytest.raises(GraphError, match="update: expected rules"):
        Trainer(graph, update=[])
    with pytest.raises(GraphError, match="expected labels from 0 to 9, got 10 at 2; correct"):
        trainer.step(x, np.array([0, 1, 10, 2]))
    with pytest.raises(GraphError, match="label_smoothing"):
        CrossEntropy(label_smoothing=1.5)
    with pytest.raises(GraphError, match="momentum"):
        SGD(nesterov=True)


def test_batches_that_are_none_or_of_other_bytes(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 3, 32, 32)).astype(np.float32), np.arange(4)
    trainer = Trainer(graph, threads=1)
    with pytest.raises(ShapeError, match="expected a batch of 1 or more"):
        trainer.step(x[:0], y[:0])
    with pytest.raises(DTypeError, match="expected a NumPy array"):
        trainer.step(x.tolist(), y)
    with pytest.raises(GraphError, match="expected a whole number"):
        Trainer(graph, threads=-1)
    with pytest.raises(GraphError, match="a whole accumulate"):
        Trainer(graph, accumulate=1.5)  # type: ignore[arg-type]
    swapped = Trainer(graph, threads=1)
    assert swapped.step(x.astype(">f4"), y.astype(">i8")).loss == trainer.step(x, y).loss
