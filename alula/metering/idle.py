"""`alula power idle`: measure what the board draws at rest, and keep it for net figures."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from alula.energy import add_meter, notes_of, opened
from alula.outputs import check_outputs
from alula.progress import Progress
from alula.report import Report
from alula.runtime.files import printable

SUMMARY = "measure what the board draws at rest, with its spread, and keep it for figures net of it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The meter, how long, where to."""
    add_meter(parser, "default: auto")
    parser.add_argument("--for", dest="time", default="60s", metavar="TIME", help="how long: 60s, 2min (60s)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="default: beside the corrections of this machine")


def run(args: argparse.Namespace) -> Report:
    """Leave the board alone meanwhile."""
    from alula.device.power.idle import idle_path, measure_idle, save_idle
    from alula.runtime.budgets import parse_seconds

    seconds = parse_seconds(args.time, "--for")
    check_outputs([args.out])
    with opened(args.meter) as meter, Progress("idle") as progress:
        baseline = measure_idle(meter, seconds, tell=lambda done_s: progress(int(done_s), int(seconds), ""))
        notes = notes_of([meter])
    path = args.out or idle_path()
    save_idle(path, baseline)
    ends = [] if baseline.spread_w is not None else ["too short for a spread; 30 s and more make a good baseline"]
    return Report(
        asdict(baseline) | {"file": str(path), "notes": notes},
        [f"idle: {baseline.told()}", *notes, *ends, f"{printable(path)}: written"],
    )
