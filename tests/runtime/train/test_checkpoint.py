"""Checkpoints: whole or the one before, never of another run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alula.runtime.errors import CheckpointError, GraphError
from alula.runtime.train import SGD
from alula.runtime.train.checkpoint import Checkpoint, fingerprint, load_checkpoint, previous, save_checkpoint
from tests.runtime.train.digits import batches, network, trainer

OPTIONS = {"lr": "0.1"}


def _save(path: Path, epoch: int) -> None:
    save_checkpoint(path, Checkpoint({"w": np.full(3, epoch, np.float32)}, {"epoch": epoch}, OPTIONS))


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert load_checkpoint(path, OPTIONS) == (None, "")
    _save(path, 1)
    _save(path, 2)
    found, problem = load_checkpoint(path, OPTIONS)
    assert found and not problem and found.place == {"epoch": 2} and np.array_equal(found.state["w"], np.full(3, 2.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "run.previous"]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-9] + b"x" + b[-8:]])
def test_the_one_before_is_taken_if_the_newest_is_damaged(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "run"
    _save(path, 1)
    _save(path, 2)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    found, problem = load_checkpoint(path, OPTIONS)
    assert found and found.place == {"epoch": 1} and str(path) in problem and "\n" not in problem
    previous(path).write_bytes(b"ALULACP1")
    with pytest.raises(CheckpointError, match="expected"):
        load_checkpoint(path, OPTIONS)


def test_another_run_is_refused(tmp_path: Path) -> None:
    _save(tmp_path / "run", 1)
    with pytest.raises(CheckpointError, match=r"expected a run with lr 0.2, got one with 0.1; go on with the same"):
        load_checkpoint(tmp_path / "run", {"lr": "0.2"})


def test_a_state_goes_on_bit_for_bit_and_a_strange_one_changes_nothing() -> None:
    options = {"accumulate": 2}
    first, second = trainer(SGD(0.002, 0.9), **options), trainer(SGD(0.002, 0.9), **options)
    some = batches(6)
    for batch in some[:3]:
        first.step(*batch)
    second.restore(first.state())
    for batch in some[3:]:
        assert first.step(*batch).loss == second.step(*batch).loss
    for name, value in first.state().items():
        assert np.array_equal(value, second.state()[name]), name
    before = second.state()
    for wrong in (
        {name: value for name, value in before.items() if not name.endswith("bias")},
        {**before, "more": np.zeros(1)},
        {**before, "conv1.bias": np.zeros(99, np.float32)},
        trainer(SGD(0.1)).state(),
    ):
        with pytest.raises(GraphError, match="of another network or of other options") as caught:
            second.restore(wrong)
        assert "\n" not in str(caught.value)
    assert all(np.array_equal(value, before[name]) for name, value in second.state().items())


def test_networks_differ_by_their_fingerprint_weights_do_not() -> None:
    graph = trainer().graph
    moved = trainer(SGD(0.01))
    moved.step(*batches(1)[0])
    assert fingerprint(graph) == fingerprint(moved.trained_graph()) != fingerprint(network("lenet-300-100"))
