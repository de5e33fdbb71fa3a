"""Runs: taken up again they end with the same bits; signals and numbers that explode end them in order."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alula.runtime.data import Loader
from alula.runtime.data.dataset import ArraySet
from alula.runtime.errors import CheckpointError, DivergedError, GraphError
from alula.runtime.train import EMA, SGD, CrossEntropy, Lion
from alula.runtime.train.fit import Run, evaluate
from tests.runtime.train.digits import trainer

SAMPLES, BATCH, EPOCHS = 40, 8, 3


@dataclass(frozen=True)
class Explodes:
    """A schedule with one rate that no network survives."""

    at: int

    def lr(self, step: int, base: float) -> float:
        """See `Schedule.lr`."""
        return 1e30 if step == self.at else base


def _data(seed: int = 0) -> ArraySet:
    """Noise with a bright bar whose place is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(SAMPLES) % 10
    x = rng.normal(0, 0.1, (SAMPLES, 28, 28, 1)).astype(np.float32)
    for i, label in enumerate(labels):
        x[i, 2 * label : 2 * label + 4] += 1
    return ArraySet("bars", x, labels)


def _run(folder: Path | None = None, **options: Any) -> Run:
    made = options.pop("trainer", None) or trainer(SGD(0.01, 0.9), CrossEntropy(), averaging=EMA(0.9))
    loader = Loader(_data(), BATCH, seed=3, layout="NCHW", reuse=True)
    test = Loader(_data(1), BATCH, shuffle=False, layout="NCHW")
    return Run(made, loader, EPOCHS, test, folder and folder / "run", 1e9, **options)


def _same(first: Run, second: Run) -> None:
    other = second.trainer.state()
    for name, value in first.trainer.state().items():
        assert np.array_equal(value, other[name]), name


def test_a_run_learns_and_tells(tmp_path: Path) -> None:
    run = _run(tmp_path)
    epochs = list(run)
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert epochs[-1].loss < epochs[0].loss
    last = epochs[-1].test
    assert last and last.samples == SAMPLES and last.top5 >= last.accuracy > 0.5
    assert evaluate(run.trainer.model(), run.test or run.train) == last


@pytest.mark.parametrize(
    ("stop", "number"), [((0, 1), signal.SIGINT), ((1, 3), signal.SIGTERM), ((2, 5), signal.SIGINT)]
)
def test_a_run_that_was_interrupted_ends_with_the_same_bits(tmp_path: Path, stop: tuple[int, int], number: int) -> None:
    whole = _run()
    expected = list(whole)

    def interrupt(epoch: int, step: int, done: Any) -> None:
        if (epoch, step) == stop:
            signal.raise_signal(number)

    before = signal.signal(number, signal.default_int_handler)  # a shell's background jobs ignore some
    first, got = _run(tmp_path, watch=interrupt), []
    try:
        with pytest.raises(KeyboardInterrupt):
            for epoch in first:
                got.append(epoch)
    finally:
        signal.signal(number, before)
    second = _run(tmp_path)
    assert "going on in epoch" in second.resume()
    got += list(second)
    assert [(e.number, e.loss, e.accuracy, e.test, e.lr, e.best) for e in got] == [
        (e.number, e.loss, e.accuracy, e.test, e.lr, e.best) for e in expected
    ]
    _same(whole, second)


def test_another_run_is_not_taken_up(tmp_path: Path) -> None:
    run = _run(tmp_path)
    next(iter(run))
    run.save()
    with pytest.raises(CheckpointError, match="expected a run with averaging"):
        _run(tmp_path, trainer=trainer(Lion())).resume()


@pytest.mark.parametrize("at", [2, 4])
def test_a_run_that_diverges_keeps_the_last_good_weights(tmp_path: Path, at: int) -> None:
    def made(schedule: Any) -> Any:
        return trainer(SGD(0.01, 0.9), CrossEntropy(), schedule=schedule)

    run = _run(tmp_path, trainer=made(Explodes(at)))
    with pytest.raises(DivergedError, match=r"epoch [12], step .*first not finite is") as caught:
        list(run)
    assert "\n" not in str(caught.value)
    state = run.trainer.state()
    assert all(np.isfinite(value).all() for value in state.values())
    assert run.trainer.steps in (at, at + 1)  # 1e30 times a gradient may still be finite: its step is then a good one
    taken_up = _run(tmp_path, trainer=made(Explodes(at)))
    taken_up.resume()
    _same(run, taken_up)


def test_what_cannot_be_run_is_one_line() -> None:
    with pytest.raises(GraphError, match="expected 1 epoch"):
        Run(trainer(), Loader(_data(), BATCH, layout="NCHW"), 0)
