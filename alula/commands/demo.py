"""`alula demo`: pack the OCR networks or take packed ones, fly the clip, write a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from alula.arguments import positive
from alula.report import Cell, Report, Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the report goes, how far to fly, with which networks."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the report; alula-demo/, or demo/ of a checkout, if left out",
    )
    parser.add_argument("--frames", type=positive, metavar="N", help="look at N frames only")
    parser.add_argument(
        "--model", type=Path, metavar="FILE.alula", help="packed networks; packed now, or found, if left out"
    )


def run(args: argparse.Namespace) -> Report:
    """Fly; without OpenCV, read stored crops."""
    from alula.demo.run import main

    document = main(args.out, args.frames, args.model)
    rows: list[tuple[Cell, ...]] = [(name, _cell(value)) for name, value in document["summary"].items()]
    return Report(document, [Table(("summary", "value"), rows)])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
