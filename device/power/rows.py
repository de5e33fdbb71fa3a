"""Rows of a power meter's recording or stream: CSV or JSON lines, from any tool.

Columns are found by name, whatever their case, with their unit: time (`t_s`, `time`, `timestamp`, `date`: seconds from any origin, UNIX
time, or ISO 8601), and power (`power_w`, `w`, `power`) or voltage and current (`voltage_v`, `v`, `Voltage [V]`, `current(mA)`, `i`).
Without a header: two columns are time and watts, three are time, volts and amperes. Columns are separated by commas, semicolons (then
a decimal comma is one), tabs or blanks. A JSON line is an object with such names. Lines that begin with # are skipped, and so are rows
without a value: our own log writes failed readings like that.
"""

from __future__ import annotations

import csv
import datetime
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alula.runtime.errors import MeterError

TIME_NAMES = ("t", "time", "timestamp", "seconds", "date", "datetime")
POWER_NAMES = ("w", "power", "watt", "watts", "p")
VOLT_NAMES = ("v", "voltage", "volt", "volts", "u")
CURRENT_NAMES = ("a", "current", "ampere", "amperes", "amps", "i")
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "v": 1.0, "mv": 1e-3, "uv": 1e-6, "a": 1.0, "ma": 1e-3, "ua": 1e-6,
         "w": 1.0, "mw": 1e-3, "uw": 1e-6}  # fmt: skip
WITH_UNIT = re.compile(r"(.+?)(?:_|\s*[\[(])\s*(" + "|".join(UNITS) + r")\s*[\])]?")
UNIX_MS = 1e11  # a time stamp beyond it counts milliseconds
MAX_LINE = 10_000


@dataclass(frozen=True)
class Row:
    """One row. t_s is None if there is no column of time; volts and amperes are None if they are not recorded."""

    t_s: float | None
    power_w: float
    voltage_v: float | None = None
    current_a: float | None = None


class Rows:
    """Lines in, rows out. `where` names the file in errors."""

    def __init__(self, where: str) -> None:
        self.where, self.number = where, 0
        self._columns: dict[str, tuple[int, float]] | None = None
        self._separator: str | None = ","

    def line(self, text: str) -> Row | None:
        """The row of a line; None for a header, a comment, an empty row. raise: MeterError, with the line's number"""
        self.number += 1
        text = text.strip().lstrip("\ufeff")
        if not text or text.startswith("#"):
            return None
        if len(text) > MAX_LINE or not text.replace("\t", " ").isprintable():
            raise self._error("a line of text", text)
        if text.startswith("{"):
            return self._json(text)
        if self._columns is None:
            self._separator = next((mark for mark in (";", "\t", ",") if mark in text), None)
            cells = self._cells(text)
            self._columns = self._by_number(cells) if _is_number(cells[0]) else self._by_name(dict(enumerate(cells)))
            if not _is_number(cells[0]):
                return None
        cells = self._cells(text)
        values = {
            key: (cells[index] if index < len(cells) else "", scale) for key, (index, scale) in self._columns.items()
        }
        return self._row(values, text)

    def _json(self, text: str) -> Row | None:
        try:
            entry: Any = json.loads(text)
        except ValueError as error:
            raise self._error("JSON", text) from error
        if "t" not in entry and entry.keys() & {"format", "event"}:  # a head
            return None
        columns = self._by_name({name: name for name in entry})
        return self._row({key: (entry[name], scale) for key, (name, scale) in columns.items()}, text)

    def _cells(self, text: str) -> list[str]:
        if self._separator is None:
            return text.split()
        try:
            return [cell.strip() for cell in next(csv.reader([text], delimiter=self._separator))]
        except csv.Error as error:
            raise self._error("columns", text) from error

    def _by_number(self, first: list[str]) -> dict[str, tuple[int, float]]:
        if len(first) not in (2, 3):
            raise MeterError(
                f"{self.where}: expected 2 columns (t, W) or 3 (t, V, A), got {len(first)}; add a header line"
            )
        return {key: (index, 1.0) for index, key in enumerate("tw" if len(first) == 2 else "tva")}

    def _by_name(self, names: Mapping[Any, str]) -> dict[str, tuple[Any, float]]:
        """Which column holds what, and its unit."""
        known = {"t": TIME_NAMES, "w": POWER_NAMES, "v": VOLT_NAMES, "a": CURRENT_NAMES}
        columns: dict[str, tuple[Any, float]] = {}
        for place, name in names.items():
            word, scale = name.strip().lower(), 1.0
            if found := WITH_UNIT.fullmatch(word):
                word, scale = found[1].strip(), UNITS[found[2]]
            for key, words in known.items():
                if word in words:
                    columns.setdefault(key, (place, scale))
        if not ("w" in columns or {"v", "a"} <= columns.keys()):
            got = ", ".join(names.values())[:80]
            raise MeterError(
                f"{self.where}: expected columns t_s and power_w, or t_s, voltage_v and current_a, got {got}"
            )
        return columns

    def _row(self, values: dict[str, tuple[Any, float]], text: str) -> Row | None:
        needed = ("w",) if "w" in values else ("v", "a")
        if any(values[key][0] in ("", None) for key in (*needed, *("t" for _ in range("t" in values)))):
            return None
        number = {key: self._number(cell, text) * scale for key, (cell, scale) in values.items()
                  if key != "t" and cell not in ("", None)}  # fmt: skip
        t_s = self._time(values["t"][0], text) * values["t"][1] if "t" in values else None
        volt, current = number.get("v"), number.get("a")
        power = number["w"] if "w" in number else (volt or 0.0) * (current or 0.0)
        if not (math.isfinite(power) and (t_s is None or math.isfinite(t_s))):
            raise self._error("finite numbers", text)
        return Row(
            t_s, power, *(value if value is not None and math.isfinite(value) else None for value in (volt, current))
        )

    def _number(self, cell: Any, text: str) -> float:
        try:
            return float(cell.replace(",", ".") if self._separator == ";" and isinstance(cell, str) else cell)
        except (TypeError, ValueError) as error:
            raise self._error("numbers", text) from error

    def _time(self, cell: Any, text: str) -> float:
        if isinstance(cell, str) and not _is_number(cell.replace(",", ".")):
            try:
                return datetime.datetime.fromisoformat(cell).timestamp()
            except ValueError as error:
                raise self._error("numbers", text) from error
        t_s = self._number(cell, text)
        return t_s * 1e-3 if t_s > UNIX_MS else t_s

    def _error(self, what: str, text: str) -> MeterError:
        return MeterError(f"{self.where}:{self.number}: expected {what}, got {text[:60]!r}; fix or remove the line")


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
