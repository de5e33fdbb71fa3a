"""`alula power check`: hold a known step of load against a meter. Status 1 if it does not see the step."""

from __future__ import annotations

import argparse
import contextlib
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from alula.arguments import positive
from alula.energy import METER, add_meter, notes_of, opened
from alula.report import Cell, Report, Table

if TYPE_CHECKING:
    from alula.device.power.check import StepSeen

SUMMARY = "check a meter with a known step of load: is it seen, how late, how large"
APART = 0.2  # of the larger step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which meters, how large a step, how long."""
    add_meter(parser, "default: auto")
    parser.add_argument("--against", metavar=METER, help="a second meter, for the same step")
    parser.add_argument("--cores", type=positive, metavar="N", help="busy cores; default: all")
    parser.add_argument("--quiet", default="5s", metavar="TIME", help="idle before the step (5s)")
    parser.add_argument("--busy", default="8s", metavar="TIME", help="busy after it (8s)")


def run(args: argparse.Namespace) -> Report:
    """Idle, then busy."""
    from alula.device.power.check import check
    from alula.device.power.load import BusyCores
    from alula.runtime.budgets import parse_seconds
    from alula.runtime.errors import MeterError

    quiet_s, busy_s = parse_seconds(args.quiet, "--quiet"), parse_seconds(args.busy, "--busy")
    there = os.cpu_count() or 1
    cores = args.cores or there
    if cores > there:
        raise MeterError(f"--cores: expected at most {there}, got {cores}; this machine has no more")
    with contextlib.ExitStack() as stack:
        meters = [stack.enter_context(opened(args.meter))]
        if args.against:
            meters.append(stack.enter_context(opened(args.against)))
        load = stack.enter_context(BusyCores(cores))
        seen = check(meters, load, cores, quiet_s, busy_s)
        notes = notes_of(meters)
    return report(seen, cores, notes)


def report(seen: list[StepSeen], cores: int, notes: list[str]) -> Report:
    """What the meters made of the step."""
    rows: list[tuple[Cell, ...]] = [
        (one.source, one.accuracy.value, "yes" if one.is_seen else "no", "" if one.late_s is None else f"{one.late_s:.2f}",
         f"{one.step_w:.3g}", f"{one.before_w:.3g}", f"{one.after_w:.3g}", f"{one.noise_w:.2g}", f"{1 / one.period_s:.1f}")
        for one in seen
    ]  # fmt: skip
    columns = ("meter", "class", "seen", "late s", "step W", "before W", "after W", "noise W", "readings/s")
    parts: list[Table | str] = [Table(columns, rows, f"{cores} busy cores"), *notes, *_differences(seen)]
    parts += [f"{one.source}: does not see the step; does it measure this board?" for one in seen if not one.is_seen]
    document = {
        "cores": cores,
        "meters": [asdict(one) | {"step_w": one.step_w, "seen": one.is_seen} for one in seen],
        "differ": bool(_differences(seen)),
        "notes": notes,
    }
    return Report(document, parts, status=int(not all(one.is_seen for one in seen)))


def _differences(seen: list[StepSeen]) -> list[str]:
    if len(seen) < 2:
        return []
    a, b = seen
    if abs(a.step_w - b.step_w) <= APART * max(abs(a.step_w), abs(b.step_w)):
        return []
    steps = f"{a.source} sees a step of {a.step_w:.3g} W, {b.source} of {b.step_w:.3g} W"
    return [f"the meters differ: {steps}; alula power calibrate fits one to the other"]
