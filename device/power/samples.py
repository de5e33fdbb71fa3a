"""The log's samples: one row per reading, handed to the kernel as soon as it is made; CSV, or JSON lines if the name ends in .jsonl."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any, TextIO

from alula.device.power.meter import Reading

logger = logging.getLogger(__name__)

COLUMNS = (
    "t_s",
    "power_w",
    "energy_j",
    "voltage_v",
    "current_a",
    "raw_w",
    "phase",
    "source",
    "accuracy",
    "age_s",
    "flag",
)
JSON_LINES = ".jsonl"


class Samples:
    """Rows of COLUMNS. A full disk ends the file and not the flight: `failure` then says why.

    t_s counts from the log's first reading, energy_j is the log's total so far, raw_w is power_w without its correction, age_s is how long
    the meter has shown these figures. flag is '', `gap` (the time before this row had no readings), `failed` (the first of a run of
    readings that could not be had), or `stale`, `frozen`, `implausible`: a reading that was not booked.

    raise : OSError if the file cannot be made
    """

    def __init__(self, path: Path) -> None:
        self.failure = ""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO | None = open(path, "w", newline="", buffering=1, encoding="utf-8")  # noqa: SIM115
        self.path = path
        self._writer = None if path.suffix == JSON_LINES else csv.writer(self._file, lineterminator="\n")
        if self._writer is not None:
            self._write(COLUMNS)

    def reading(
        self, t_s: float, reading: Reading, energy_j: float, phase: str, source: str, accuracy: str, age_s: float, flag: str
    ) -> None:  # fmt: skip
        """A row with figures."""
        figures = (reading.power_w, energy_j, reading.voltage_v, reading.current_a, reading.raw_w)
        self._row(t_s, figures, phase, source, accuracy, age_s, flag)

    def failed(self, t_s: float, phase: str, source: str, accuracy: str) -> None:
        """A row without figures: the meter could not be read."""
        self._row(t_s, (None,) * 5, phase, source, accuracy, None, "failed")

    def close(self) -> None:
        """Closing twice is allowed."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                self._fail(error)

    def _row(
        self, t_s: float, figures: tuple[float | None, ...], phase: str, source: str, accuracy: str,
        age_s: float | None, flag: str,
    ) -> None:  # fmt: skip
        if self._writer is not None:
            texts = (_figure(value) for value in (t_s, *figures))
            self._write((*texts, phase, source, accuracy, _figure(age_s), flag))
        else:
            values = (_rounded(t_s), *map(_rounded, figures), phase, source, accuracy, _rounded(age_s), flag)
            self._write(values)

    def _write(self, cells: tuple[Any, ...]) -> None:
        if self._file is None:
            return
        try:
            if self._writer is not None:
                self._writer.writerow(cells)
            else:
                self._file.write(json.dumps(dict(zip(COLUMNS, cells, strict=True)), ensure_ascii=False) + "\n")
        except OSError as error:
            self._fail(error)
            self.close()

    def _fail(self, error: OSError) -> None:
        if not self.failure:
            self.failure = f"{self.path}: expected room for a row, got {error}; no more samples are written"
            logger.warning("%s", self.failure)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
