"""A session keeps a record of each epoch, the best network, and the weights from before a divergence."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alula.runtime.artifact import open_artifact
from alula.runtime.data import ArraySet, Loader
from alula.runtime.errors import DivergedError
from alula.runtime.train import EMA, SGD, Trainer
from alula.runtime.train.fit import Run
from alula.runtime.train.session import BEST, LAST, Session, own_files
from tests.runtime.train.digits import network


class Joules:
    """A log whose meter gives one joule more each time it is read."""

    def __init__(self) -> None:
        self.read = 0
        self.phases: list[str] = []

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.phases.append(name)
        yield

    def sample(self) -> None:
        self.read += 1

    def summary(self) -> dict[str, Any]:
        return {"energy_j": float(self.read), "mean_w": 1.0, "source": "fake", "accuracy": "modelled"}


def session(energy: Joules, lr: float = 0.01, averaging: EMA | None = None, **places: Path) -> Session:
    rng = np.random.default_rng(0)
    data = ArraySet("noise", rng.normal(0, 0.1, (20, 28, 28, 1)).astype(np.float32), np.arange(20) % 10)
    train, test = (Loader(data, 10, layout="NCHW", drop_last=True), Loader(data, 10, shuffle=False, layout="NCHW"))
    trainer = Trainer(network("lenet-5"), SGD(lr), threads=1, averaging=averaging)
    return Session(Run(trainer, train, 2, test, log=energy.phase), energy, **places)


def test_each_epoch_has_a_record_with_its_joules(tmp_path: Path) -> None:
    energy = Joules()
    ours = session(energy, folder=tmp_path, log=tmp_path / "log.jsonl", output=tmp_path / "out.alula")
    ours.train()
    ours.finish()
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert written == ours.records and [record["epoch"] for record in written] == [1, 2]
    assert [record["energy_j"] for record in written] == [1.0, 1.0] and written[0]["energy_source"] == "fake"
    assert energy.phases == ["train", "test"] * 2
    best = max(written, key=lambda record: record["test_accuracy"])
    assert open_artifact(tmp_path / BEST).metadata["training"] == best
    assert open_artifact(tmp_path / "out.alula").metadata["training"] == written[-1]


def test_an_average_is_written_instead_of_the_last_weights(tmp_path: Path) -> None:
    ours = session(Joules(), averaging=EMA(0.5), output=tmp_path / "out.alula")
    ours.train()
    ours.finish()
    trainer = ours.run.trainer
    stored = next(iter(open_artifact(tmp_path / "out.alula").graphs.values())).constants
    last, average = trainer.trained_graph().constants, trainer.averaged_graph(()).constants
    name = trainer.trained[0]
    assert stored[name].tobytes() == average[name].tobytes() != last[name].tobytes()


@pytest.mark.parametrize(
    ("place", "expected"), [("output", "out.alula"), ("folder", LAST), ("", "-o FILE.alula would have kept them")]
)
def test_what_was_learned_before_a_divergence_is_written(place: str, expected: str, tmp_path: Path) -> None:
    places = {"output": {"output": tmp_path / "out.alula"}, "folder": {"folder": tmp_path}}.get(place, {})
    with pytest.raises(DivergedError, match=expected):
        session(Joules(), lr=1e30, **places).train()
    for path in tmp_path.glob("*.alula"):
        constants = next(iter(open_artifact(path).graphs.values())).constants
        assert all(np.isfinite(constants[name]).all() for name in constants if constants.spec(name).dtype == "float32")
    assert len(list(tmp_path.iterdir())) == bool(place)


def test_the_files_of_a_session_are_named_before_it_begins(tmp_path: Path) -> None:
    assert {tmp_path / BEST, tmp_path / LAST} < set(own_files(tmp_path))
