"""`alula demo`: pack the OCR networks, fly the clip, write `demo/report.html`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import alula
from alula.report import Cell, Report, Table

SCRIPT = Path(alula.__file__).parent.parent / "demo" / "run.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the report goes."""
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder of the report; demo/ of the checkout if left out"
    )


def run(args: argparse.Namespace) -> Report:
    """Run demo/run.py of the checkout."""
    from alula.runtime.errors import SourceError, require

    if not SCRIPT.exists():
        raise SourceError(
            f"demo: expected {SCRIPT}, got no such file; the demo needs a checkout of the project, not a wheel"
        )
    for module in ("matplotlib", "cv2", "onnx", "onnxruntime"):
        require(module, "demo", "demo")
    spec = importlib.util.spec_from_file_location("alula_demo", SCRIPT)
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # dataclasses look their module up
    spec.loader.exec_module(script)
    document = script.main(args.out)
    rows: list[tuple[Cell, ...]] = [(name, _cell(value)) for name, value in document["summary"].items()]
    return Report(document, [Table(("summary", "value"), rows)])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
