"""`alula train`: from images to a packed network; killed at any moment, it goes on; bad input is one line."""

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
from tests.runtime.data.formats import write_ppm

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
    assert document["energy"]["counters"]["step"]["each_j"] > 0
    assert all(
        record["energy_j"] > 0 and record["energy_accuracy"] in ("measured", "modelled", "guessed")
        for record in records
    )
    x = np.load(data / "test.npz")
    images = ((x["x"] / 255 - x["x"].mean() / 255) / (x["x"] / 255).std()).transpose(0, 3, 1, 2).astype(np.float32)
    for path in (out, tmp_path / "run" / "best.alula"):
        assert (np.asarray(alula.load(path)(images)).argmax(axis=1) == x["y"]).mean() > 0.85
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


def test_a_dry_run_lists_what_is_trained_and_what_is_not(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(data, "--dry-run", "--json", "--update", "last:1")) == 0
    told = json.loads(capsys.readouterr().out)
    trained = [name for name, role in told["roles"].items() if role == "trained"]
    assert trained == told["update"] and "frozen" in told["roles"].values()
    assert main(_arguments(data, "--dry-run", "--update", "last:1")) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, role in told["roles"].items():
        assert any(line.split()[0] == name and line.split()[-1] == role for line in lines if line.strip()), name


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
        (["-o", "/proc/out.alula"], "expected a folder that can be written to"),
        (["--plot", "curves.xyz"], "expected one of"),
        (["--accumulate", "1000"], "expected at most the 60 batches"),
        (["--update", "last:\N{SUPERSCRIPT TWO}"], "expected last:1"),
        (["--update", "auto:1e308GB"], "expected auto:64MB"),
        (["--threads", "100000"], "expected a whole number from 1"),
        (["--pad", "1000000"], "expected at most the image's size"),
        (["--graph", "other"], "expected an .alula file with it"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], expected: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(data, *words)) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1 and "Traceback" not in said


def test_labels_and_images_must_fit_the_network(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "train.npz", x=np.zeros((20, 28, 28, 1), np.uint8), y=np.arange(20))
    assert main(_arguments(tmp_path, "--head", "keep")) == 2
    assert "--head keep cannot: too few outputs" in capsys.readouterr().err
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


@pytest.mark.parametrize("number", ["1e39", "-1", "nan", "x"])
def test_a_number_that_no_float32_holds_is_refused(data: Path, capsys: pytest.CaptureFixture[str], number: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(_arguments(data, "--weight-decay", number))
    assert caught.value.code == 2 and "expected a number from 0 on" in capsys.readouterr().err


def test_a_run_of_other_weights_labels_or_loss_is_not_taken_up(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    words = ["--checkpoints", run, "--resume", "--epochs", 1]
    assert main(_arguments(data, *words, "-o", tmp_path / "a.alula")) == 0
    assert "nothing is left to do" not in capsys.readouterr().out
    assert main(_arguments(data, *words)) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    other.mkdir()
    for split in ("train", "test"):
        content = np.load(data / f"{split}.npz")
        np.savez(other / f"{split}.npz", x=content["x"], y=np.roll(content["y"], 1))
    model = _arguments(data, *words)
    model[1] = str(tmp_path / "a.alula")
    for arguments, name in (
        (model, "first weights"),
        (_arguments(other, *words), "data"),
        (_arguments(data, *words, "--label-smoothing", 0.5), "loss"),
    ):
        assert main(arguments) == 2
        assert f"expected a run with {name} " in capsys.readouterr().err


def test_what_is_wrong_with_a_test_set_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = np.load(data / "train.npz")
    np.savez(
        tmp_path / "both.npz", x_train=content["x"], y_train=content["y"], x_test=content["x"], y_test=content["y"] + 9
    )
    assert main(_arguments(tmp_path / "both.npz", "--epochs", 1)) == 2
    assert "expected labels from 0 to 9" in capsys.readouterr().err
    np.savez(tmp_path / "one.npz", x_train=content["x"], y_train=content["y"])
    assert main(_arguments(tmp_path / "one.npz", "--epochs", 1)) == 0  # there need not be one


def test_the_weights_from_before_a_divergence_are_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, path in (
        (["-o", tmp_path / "out.alula"], tmp_path / "out.alula"),
        (["--checkpoints", tmp_path / "run"], tmp_path / "run" / "last.alula"),
    ):
        assert main(_arguments(data, "--lr", "1e30", *more)) == 2
        assert f"are in {path}" in capsys.readouterr().err
        assert all(np.isfinite(np.frombuffer(value, np.float32)).all() for value in _weights(path).values())


def test_outputs_spare_the_data_and_the_run_s_own_files(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    for more, text in (
        (["-o", data / "train.npz"], "got a file of the data"),
        (["--checkpoints", run, "-o", run / "run.checkpoint"], "that of a file of the run"),
        (["--checkpoints", run, "--log", run / "best.alula"], "that of a file of the run"),
        (["--checkpoints", data / "train.npz"], "expected a folder"),
    ):
        assert main(_arguments(data, "--epochs", 1, *more)) == 2
        assert text in capsys.readouterr().err


def test_an_epoch_whose_record_was_not_written_is_taken_up_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = _arguments(data, "--checkpoints", tmp_path / "run", "--log", tmp_path / "log.jsonl")

    def killed(*_: object) -> None:
        raise OSError("no more")

    with monkeypatch.context() as patch:
        patch.setattr("alula.runtime.train.session.write_log", killed)
        assert main(words) == 2
    assert main([*words, "--resume"]) == 0
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]


NO_HOST = """
import sys

class NoHost:
    def find_spec(self, name, path=None, target=None):
        if name == "alula.host" or name.startswith("alula.host."):
            raise ModuleNotFoundError(f"no {name} on a board", name=name)

sys.meta_path.insert(0, NoHost())
from alula.cli import main

sys.exit(main(sys.argv[1:]))
"""


def test_a_board_without_the_host_trains_from_a_file(data: Path, tmp_path: Path) -> None:
    start, out, run = tmp_path / "start.alula", tmp_path / "out.alula", tmp_path / "run"
    assert main(_arguments(data, "--epochs", 1, "-o", start)) == 0
    words = ["--epochs", 1, "--update", "last:1", "-o", out, "--checkpoints", run, "--log", tmp_path / "log.jsonl"]
    command = _arguments(data, *words, "--average", "ema")
    command[1] = str(start)
    done = subprocess.run(
        [sys.executable, "-c", NO_HOST, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "") and f"{out}: written" in done.stdout
    assert open_artifact(out).trainable and open_artifact(run / "best.alula").trainable
    assert _weights(out).keys() == _weights(start).keys() and _weights(out) != _weights(start)
    # and the host is really gone
    refused = subprocess.run(
        [sys.executable, "-c", NO_HOST, *_arguments(data)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "no alula.host" in refused.stderr


def test_what_was_left_out_is_said_in_names_that_print_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for label in "ab":
        for number in range(4):
            write_ppm(tmp_path / "Train" / label / f"{number}.pgm", rng.integers(0, 256, (28, 28, 1), np.uint8))
    (tmp_path / "Train" / "a" / os.fsdecode(b"gr\xfcn.pgm")).write_bytes(b"P5 cut off")
    (tmp_path / "Train" / "a" / "._0.pgm").write_bytes(b"x")
    words = ["train", "zoo:lenet-5", "--data", str(tmp_path), "--epochs", "1", "--batch", "3", "--threads", "1"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("damaged images, left out: 1 (") and line.endswith("a/gr\\xfcn.pgm)") for line in lines)
    assert any(line.startswith("left out: 1 (hidden: ") for line in lines)
