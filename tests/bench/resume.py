"""A training run that is killed (SIGKILL) at random moments and taken up again, beside one that was left alone.

    python -m tests.bench.resume --data cifar10 --json resume.json [--kills 20] [--samples 2000]

Summary: kills, tensors_that_differ (0: the weights are the same bit for bit), epochs_that_differ (of the log, energy and
seconds aside).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from alula.report import Table
from alula.runtime.artifact import open_artifact
from alula.runtime.data import Dataset, Subset, open_data, save_npz
from tests.bench.output import finish

NETWORK, EPOCHS, BATCH = "zoo:resnet20-cifar", 2, 16
TIMED = ("seconds", "energy_j", "energy_source", "energy_accuracy")


def main() -> None:
    """Run both, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="CIFAR-10 in any form that open_data reads"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--samples", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for split in ("train", "test"):
            data: Dataset = open_data(args.data, split)
            save_npz(Subset(data, np.arange(0, len(data), max(len(data) // args.samples, 1))), folder / f"{split}.npz")
        start = time.monotonic()
        subprocess.run(_command(folder, "whole"), check=True, stdout=subprocess.DEVNULL)
        length_s = time.monotonic() - start
        kills = _killed_run(folder, args.kills, length_s)
        differ = _differences(folder / "whole.alula", folder / "killed.alula")
        logs = [_log(folder / f"{name}.jsonl") for name in ("whole", "killed")]
    summary = {
        "kills": kills, "tensors_that_differ": differ,
        "epochs_that_differ": sum(a != b for a, b in zip(*logs, strict=True)),
    }  # fmt: skip
    finish(
        summary,
        {"seconds_of_the_whole_run": length_s},
        Table(("kills", "tensors that differ"), [(kills, differ)]),
        args.json,
    )
    sys.exit(int(bool(differ)))


def _command(folder: Path, name: str) -> list[str]:
    words = ["train", NETWORK, "--data", folder, "--epochs", EPOCHS, "--batch", BATCH, "--threads", 2, "--flip", "--pad", 4,
             "-o", folder / f"{name}.alula", "--log", folder / f"{name}.jsonl", "--checkpoints", folder / name,
             "--every", 0.2, "--resume"]  # fmt: skip
    return [sys.executable, "-m", "alula", *map(str, words)]


def _killed_run(folder: Path, wanted: int, length_s: float) -> int:
    """Start, kill after a random time, start again; the last one is let go. return: how many were killed while they ran.

    A start takes about a second. What is left of the run is shared among the kills that are left, so that it lasts.
    """
    rng, kills, left_s = np.random.default_rng(0), 0, length_s
    while True:
        with subprocess.Popen(_command(folder, "killed"), stdout=subprocess.DEVNULL) as child:
            if kills < wanted:
                wait_s = rng.uniform(0.3, 1.0 + left_s / (wanted - kills + 1))
                left_s = max(left_s - max(wait_s - 0.5, 0), 0.0)
                time.sleep(wait_s)
                child.send_signal(signal.SIGKILL)
            status = child.wait()
        if status == -signal.SIGKILL:
            kills += 1
        elif status:
            sys.exit(f"the run that was taken up again ended with status {status} after {kills} kills")
        else:
            return kills


def _differences(first: Path, second: Path) -> int:
    one, other = (next(iter(open_artifact(path).graphs.values())).constants for path in (first, second))
    assert set(one) == set(other)
    return sum(one[name].tobytes() != other[name].tobytes() for name in one)


def _log(path: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in TIMED} for record in records]


if __name__ == "__main__":
    main()
