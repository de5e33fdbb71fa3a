"""`alula demo`: pack the OCR networks or use packed ones, read the signs in the flight video, write a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from alula.arguments import positive
from alula.report import Cell, Report, Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the report goes, how many frames, which networks."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the report; default: alula-demo/, or demo/ in a checkout",
    )
    parser.add_argument("--frames", type=positive, metavar="N", help="read only N frames")
    parser.add_argument(
        "--model", type=Path, metavar="FILE.alula", help="packed networks; default: those found, or packed now"
    )


def run(args: argparse.Namespace) -> Report:
    """Read the video; without OpenCV, read stored crops."""
    from alula.demo.run import main

    document = main(args.out, args.frames, args.model)
    rows: list[tuple[Cell, ...]] = [(name, _cell(value)) for name, value in document["summary"].items()]
    return Report(document, [Table(("summary", "value"), rows)])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
