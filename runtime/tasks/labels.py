"""Names of classes as people and exporters write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alula.runtime.artifact.task import check_names
from alula.runtime.errors import DataError, SourceError
from alula.runtime.files import check_file, printable


def read_labels(path: Path) -> tuple[str, ...]:
    """Names of classes from a file: one a line, a JSON list, a JSON table id2label, or a configuration with one.

    raise : SourceError or DataError
    """
    where = printable(path)
    check_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{where}: expected labels as text in UTF-8, got other bytes; save it as UTF-8") from None
    if text.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{where}: expected labels in JSON, got {error}; correct the file") from None
        return names_from(value.get("id2label", value) if isinstance(value, dict) else value, where)
    return names_from(text.rstrip().split("\n"), where)


def names_from(value: Any, where: str) -> tuple[str, ...]:
    """Names of classes from a list, or from a table of their numbers (0, 1, ... without holes).

    raise : DataError
    """
    if isinstance(value, Mapping):
        try:
            table = {int(number): name for number, name in value.items()}
        except (TypeError, ValueError):
            raise DataError(
                f"{where}: expected numbers of classes and their names, got {str(value)[:60]!r}; correct them"
            ) from None
        if sorted(table) != list(range(len(table))):
            raise DataError(
                f"{where}: expected names of the classes 0 to {len(table) - 1}, got others; correct the labels"
            )
        value = [table[number] for number in range(len(table))]
    if not isinstance(value, list | tuple):
        raise DataError(f"{where}: expected names of classes, got {str(value)[:60]!r}; give a list, or one a line")
    for name in value:
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise DataError(f"{where}: expected texts as names of classes, got {str(name)[:60]!r}; correct the labels")
    names = tuple(" ".join(str(name).split()) for name in value)
    check_names(names, where)
    return names
