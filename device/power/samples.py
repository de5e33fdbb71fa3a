"""The log's CSV: one row per reading, handed to the kernel as soon as it is made."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import TextIO

from alula.device.power.meter import Reading

logger = logging.getLogger(__name__)

COLUMNS = ("t_s", "power_w", "energy_j", "voltage_v", "current_a", "phase", "source", "flag")


class SampleCsv:
    """Rows of COLUMNS. A full disk ends the CSV and not the flight: `failure` then says why.

    t_s counts from the log's first reading, energy_j is the log's total so far, flag is '', `gap` (the time before
    this row had no readings), `stale` or `failed` (the first of a run of readings that could not be had).
    raise : OSError if the file cannot be made
    """

    def __init__(self, path: Path) -> None:
        self.failure = ""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO | None = open(path, "w", newline="", buffering=1, encoding="utf-8")  # noqa: SIM115
        self._path = path
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._row(COLUMNS)

    def reading(self, t_s: float, reading: Reading, energy_j: float, phase: str, source: str, flag: str) -> None:
        volt, ampere = _figure(reading.voltage_v), _figure(reading.current_a)
        self._row((f"{t_s:.6f}", _figure(reading.power_w), f"{energy_j:.6f}", volt, ampere, phase, source, flag))

    def failed(self, t_s: float, phase: str, source: str) -> None:
        self._row((f"{t_s:.6f}", "", "", "", "", phase, source, "failed"))

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                self._fail(error)

    def _row(self, cells: tuple[str, ...]) -> None:
        if self._file is None:
            return
        try:
            self._writer.writerow(cells)
        except OSError as error:
            self._fail(error)
            self.close()

    def _fail(self, error: OSError) -> None:
        if not self.failure:
            self.failure = f"{self._path}: expected room for a row, got {error}; no more samples are written"
            logger.warning("%s", self.failure)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
