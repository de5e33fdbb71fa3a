"""`alula train`: from pictures to a packed network; killed at any moment, it goes on; bad input is one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import alula
from alula.cli import main
from alula.runtime.artifact import open_artifact

ROOT = Path(__file__).parents[1]
SAMPLES = 200


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with a bright bar whose place is the class, as digits are stored."""
    folder = tmp_path_factory.mktemp("bars")
    for split, seed in (("train", 0), ("test", 1)):
        rng = np.random.default_rng(seed)
        y = np.arange(SAMPLES) % 10
        x = rng.integers(0, 40, (SAMPLES, 28, 28, 1)).astype(np.uint8)
        for i, label in enumerate(y):
            x[i, 2 * label : 2 * label + 4] += 200
        np.savez(folder / f"{split}.npz", x=x, y=y)
    return folder


def _arguments(data: Path, *more: object) -> list[str]:
    words = ["train", "zoo:lenet-5", "--data", data, "--epochs", 3, "--batch", 10, "--lr", 0.01, "--clip-norm", 1,
             "--threads", 1, *more]  # fmt: skip
    return [str(word) for word in words]


def _weights(path: Path) -> dict[str, bytes]:
    constants = next(iter(open_artifact(path).graphs.values())).constants
    return {name: constants[name].tobytes() for name in constants}


def test_a_network_learns_and_is_written(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, log = tmp_path / "out.alula", tmp_path / "log.jsonl"
    more = ["-o", out, "--log", log, "--checkpoints", tmp_path / "run", "--average", "ema", "--json"]
    assert main(_arguments(data, *more)) == 0
    document = json.loads(capsys.readouterr().out)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert document["epochs"] == records and [record["epoch"] for record in records] == [1, 2, 3]
    assert records[-1]["test_accuracy"] > 0.9 > records[0]["accuracy"]
    assert all(record["energy_j"] > 0 and record["energy_accuracy"] in ("measured", "estimate") for record in records)
    x = np.load(data / "test.npz")
    pictures = ((x["x"] / 255 - x["x"].mean() / 255) / (x["x"] / 255).std()).transpose(0, 3, 1, 2).astype(np.float32)
    for path in (out, tmp_path / "run" / "best.alula"):
        assert (np.asarray(alula.load(path)(pictures)).argmax(axis=1) == x["y"]).mean() > 0.85
    # What was written is trained further
    assert main(["train", str(out), "--data", str(data), "--epochs", "1", "--update", "last:1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"][0]["test_accuracy"] > 0.85


def test_curves_are_drawn(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(_arguments(data, "--plot", tmp_path / "curves.svg")) == 0
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()[:2000]


def test_a_dry_run_trains_nothing(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(data, "--dry-run", "--json", "--checkpoints", tmp_path / "run")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 60 and told["step_s"] > 0 and told["memory_total_bytes"] > 1e6
    assert told["parameters"] == 431080 and not (tmp_path / "run").exists()


def test_a_run_that_is_killed_goes_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, out, log = tmp_path / "whole.alula", tmp_path / "out.alula", tmp_path / "log.jsonl"
    assert main(_arguments(data, "-o", whole)) == 0
    words = _arguments(data, "-o", out, "--log", log, "--checkpoints", tmp_path / "run", "--every", "0.01", "--resume")
    rng, kills = np.random.default_rng(0), 0
    while True:
        with subprocess.Popen(
            [sys.executable, "-m", "alula", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            deadline = time.monotonic() + 60
            while kills < 3 and child.poll() is None and time.monotonic() < deadline:
                if (tmp_path / "run" / "run.checkpoint").exists():
                    time.sleep(rng.uniform(0.3, 0.9))
                    os.kill(child.pid, signal.SIGKILL)
                    break
                time.sleep(0.01)
            error = child.communicate(timeout=120)[1]
        if child.returncode != -signal.SIGKILL:
            break
        kills += 1
    assert (child.returncode, error) == (0, b"") and kills > 0
    assert _weights(out) == _weights(whole)
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--resume"], "--checkpoints DIR"),
        (["--batch", "999"], "expected a batch of 1 to 200"),
        (["--update", "stem.*"], "expected a rule that matches"),
        (["--optimizer", "adagrad"], "expected one of sgd, adam"),
        (["--optimizer", "lion", "--momentum", "0.9"], "got momentum; leave it out"),
        (["--schedule", "poly"], "expected one of constant"),
        (["--max-memory", "100kB"], "expected a step within 100,000 bytes"),
        (["--lr", "1e30"], "expected a finite loss and finite weights"),
        (["--warm-up", "60"], "warm-up of 0 to 59"),
        (["--holdout", "1.5"], "held_ratio between 0 and 1"),
        (["-o", "/nowhere/out.alula"], "expected a folder"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], expected: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(data, *words)) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1 and "Traceback" not in said


def test_labels_and_pictures_must_fit_the_network(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "train.npz", x=np.zeros((20, 28, 28, 1), np.uint8), y=np.arange(20))
    assert main(_arguments(tmp_path)) == 2
    assert "expected" in capsys.readouterr().err
    assert main(["train", "zoo:resnet20-cifar", "--data", str(data)]) == 2
    assert "expected" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none.onnx"), "--data", str(data)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_layers_are_chosen_for_a_memory(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(data, "--update", "all", "--dry-run", "--json")) == 0
    whole = json.loads(capsys.readouterr().out)["memory_total_bytes"]
    budget = int(0.9 * whole)
    for more in (["--dry-run"], ["--epochs", 1, "-o", tmp_path / "out.alula"]):
        assert main(_arguments(data, "--update", f"auto:{budget}", "--json", *more)) == 0
        captured = capsys.readouterr()
        document = json.loads(captured.out)
        assert document["update"]
        if "--dry-run" in more:
            assert document["memory_total_bytes"] <= budget
        else:
            assert document["memory_total_bytes"] <= budget and (tmp_path / "out.alula").exists()


@pytest.mark.parametrize(
    ("update", "text"),
    [
        ("auto:much", "expected auto:64MB"),
        ("auto:1kB", "at the least"),
        ("fc:1.5", "a part of the channels"),
        ("auto", "auto:64MB"),
    ],
)
def test_a_choice_that_cannot_be_made_is_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], update: str, text: str
) -> None:
    assert main(_arguments(data, "--update", update, "--dry-run")) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("alula:") == 1 and "Traceback" not in error
