"""What every benchmark ends with: a table for people, and one object with a flat `summary` for machines."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from alula.report import Report, Table
from alula.runtime.compiler import host_cpu


def finish(summary: dict[str, Any], details: dict[str, Any], table: Table | list[Table], path: Path | None) -> None:
    """Print the tables and the summary; write all, with what the machine is, to `path`."""
    tables = table if isinstance(table, list) else [table]
    machine = {"cpu": host_cpu(), "cores": os.cpu_count(), "python": platform.python_version()}
    report = Report(
        {"summary": summary, **details, "machine": machine}, [*tables, *(_line(*item) for item in summary.items())]
    )
    report.show(as_json=False)
    if path:
        with path.open("w", encoding="utf-8") as stream:
            report.show(as_json=True, stream=stream)


def _line(name: str, value: object) -> str:
    return f"{name:<24} {value:.4g}" if isinstance(value, float) else f"{name:<24} {value}"
