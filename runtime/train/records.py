"""The log of a run: one record for each epoch, one line of JSON for each record."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from alula.runtime.files import write_whole
from alula.runtime.train.fit import Epoch

Record = dict[str, Any]


def record(epoch: Epoch, energy_j: float, source: str, accuracy: str) -> Record:
    """What is kept of an epoch.

    source, accuracy : of the energy
    """
    test = epoch.test
    return {
        "epoch": epoch.number, "loss": epoch.loss, "accuracy": epoch.accuracy, "test_loss": test and test.loss,
        "test_accuracy": test and test.accuracy, "test_top5": test and test.top5, "lr": epoch.lr, "seconds": epoch.seconds,
        "energy_j": energy_j, "energy_source": source, "energy_accuracy": accuracy,
    }  # fmt: skip


def read_log(path: Path, epochs: int) -> list[Record]:
    """The records of the epochs that are done; none of a log that cannot be read."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        return [record for record in records if record["epoch"] <= epochs]
    return []


def write_log(path: Path, records: list[Record]) -> None:
    """Write the log, whole or not at all."""
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    write_whole(path, lambda handle: handle.write(content))
