"""`alula power compare A.json B.json`: the difference of two runs, or of two groups of runs, and how sure it is."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from alula.report import Cell, Report, Table

if TYPE_CHECKING:
    from alula.device.power.compare import Difference

SUMMARY = "compare two runs, or two groups of repeated runs: the difference and its uncertainty"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The summaries of the runs."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="A.json", help="summaries; two alone are one against the other"
    )
    parser.add_argument(
        "--against", type=Path, nargs="+", metavar="B.json", help="the second group; 3 runs and more in each"
    )
    parser.add_argument("--mixed", action="store_true", help="compare also what different meters or classes say")


def run(args: argparse.Namespace) -> Report:
    """Read, then compare."""
    from alula.device.power.compare import compare, mixed, overall, read_run
    from alula.runtime.errors import MeterError

    first, second = args.files, args.against
    if second is None:
        if len(first) != 2:
            raise MeterError(
                f"alula power compare: expected two files, got {len(first)}; name a second group with --against"
            )
        first, second = first[:1], first[1:]
    a, b = [read_run(path) for path in first], [read_run(path) for path in second]
    doubt = mixed(a, b)
    if doubt and not args.mixed:
        raise MeterError(f"alula power compare: {doubt}; give runs of one kind, or --mixed")
    differences = compare(a, b)
    accuracy = overall([*a, *b]).value
    rows: list[tuple[Cell, ...]] = [
        (f"{one.name}, {one.unit}", f"{one.first:.4g}", f"{one.second:.4g}", f"{one.value:+.3g}",
         "" if one.margin is None else f"{one.margin:.2g}", "" if one.ratio is None else f"{one.ratio:+.1%}")
        for one in differences
    ]  # fmt: skip
    parts: list[Table | str] = [
        Table(("figure", f"A ({len(a)})", f"B ({len(b)})", "B - A", "+-", "of A"), rows),
        f"class: {accuracy}; {' and '.join(sorted({run.source for run in (*a, *b)}))}",
    ]
    parts += [f"flagged: {doubt}; their difference is not the load's alone"] if doubt else []
    parts.append(_verdict(differences))
    document = {
        "differences": [asdict(one) | {"difference": one.value, "ratio": one.ratio, "shown": one.is_shown} for one in differences],
        "accuracy": accuracy, "runs": [len(a), len(b)], "flagged": doubt,
    }  # fmt: skip
    return Report(document, parts)


def _verdict(differences: list[Difference]) -> str:
    """On the energy for each item, if there is one, else on all of it."""
    energy = next((one for one in differences if one.name.startswith("energy per ")), differences[0])
    if not energy.repeated:
        return (
            "one run of each: +- is the bound of their sampling alone; repeat them, 3 runs of each give an uncertainty"
        )
    shown = "B takes less" if energy.value < 0 else "B takes more"
    verdict = shown if energy.is_shown else "no difference is shown"
    return f"{energy.name}: {verdict} (95 % interval of Welch's t)"
