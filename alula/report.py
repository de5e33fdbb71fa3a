"""The output of a command: one document for machines, tables and lines for people, a status for the shell."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from alula.runtime.artifact.task import Task

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows under named columns. A column of figures is aligned right."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    title: str = ""

    def cells(self) -> list[list[str]]:
        """Every cell as text."""
        return [["" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row]
                for row in self.rows]  # fmt: skip

    def numeric(self, column: int) -> bool:
        """Whether every cell of the column starts like a figure."""
        texts = [row[column] for row in self.cells() if row[column]]
        return bool(texts) and all(text.lstrip("+-−≤")[:1].isdigit() for text in texts)


@dataclass
class Report:
    """The result of a command.

    document : what `--json` prints
    parts    : what people read, in order
    status   : the exit status: 0, or 1 for "done, and the answer is no"
    """

    document: dict[str, Any]
    parts: list[Table | str] = field(default_factory=list)
    status: int = 0

    def show(self, as_json: bool, stream: TextIO | None = None) -> None:
        """Print to standard output: JSON, or tables (drawn by rich on a terminal, where it is installed)."""
        out = stream or sys.stdout
        if as_json:
            print(_json(self.document, out.encoding or "utf-8"), file=out, flush=True)
            return
        draw = _rich_table if out.isatty() and _has_rich() else _plain_table
        for part in self.parts:
            if isinstance(part, Table):
                draw(part, out)
            else:
                print(part, file=out)
        out.flush()


def size(nbytes: float) -> str:
    """Bytes for people: `482 B`, `1.6 MB`."""
    value = float(nbytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def count(number: float) -> str:
    """A large count for people: `41.3 M`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f} {unit}"
    return f"{number:.0f}"


def _json(document: dict[str, Any], encoding: str) -> str:
    """As JSON; with characters that the encoding lacks as JSON escapes them."""
    text = json.dumps(document, indent=2, ensure_ascii=False, default=_plain)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(document, indent=2, default=_plain)
    return text


def tell_task(task: Task) -> str:
    """What a network is for, in one line."""
    shown = ", ".join(task.classes[:4]) + (", ..." if len(task.classes) > 4 else "")
    classes = f" {len(task.classes)} classes ({shown})" if task.classes else ""
    how = f"sees images as {task.preprocessing}" if task.preprocessing else "without preprocessing, so for arrays alone"
    boxes = (
        f", decoder {task.decoder or 'none'}, conf {task.conf:g}, iou {task.iou:g}" if "conf" in task.document() else ""
    )
    return f"{task.kind}{classes}{boxes}; {how}"


def _plain(value: object) -> object:
    """A JSON value of NumPy's scalars and arrays, and of paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _plain_table(table: Table, out: TextIO) -> None:
    texts = [list(table.columns), *table.cells()]
    widths = [max(len(row[i]) for row in texts) for i in range(len(table.columns))]
    right = [table.numeric(i) for i in range(len(table.columns))]
    if table.title:
        print(table.title, file=out)
    for number, row in enumerate(texts):
        aligned = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(row, widths, right)]
        print("  ".join(aligned).rstrip(), file=out)
        if number == 0:
            print("  ".join("-" * w for w in widths), file=out)


def _has_rich() -> bool:
    import importlib.util

    return importlib.util.find_spec("rich") is not None


def _rich_table(table: Table, out: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=table.title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(table.columns):
        drawn.add_column(name, justify="right" if table.numeric(i) else "left", overflow="fold")
    for row in table.cells():
        drawn.add_row(*(Text(text) for text in row))  # Text: a name with brackets is no markup
    Console(file=out, highlight=False).print(drawn)
