"""`alula power calibrate`: fit a meter, or the model, to a better meter, in three steps; kept in the file of corrections."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from alula.energy import METER, NAMES, opened
from alula.progress import Progress
from alula.report import Cell, Report, Table
from alula.runtime.files import printable

if TYPE_CHECKING:
    from alula.device.power.calibrate import Step

SUMMARY = "fit a meter or the model to an external meter in three steps, and keep the correction of this board"
MOST_W = 1e5
RAW = ",gain=1,offset=0"  # what the meter says itself


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which meter, by which, how long."""
    parser.add_argument("--meter", default="model", metavar=METER, help=f"what to correct (model): {NAMES}")
    parser.add_argument("--against", metavar=METER, help="the better meter, such as i2c:1:0x40 or csv:FILE")
    parser.add_argument(
        "--watts", type=_watts, metavar="IDLE,ONE,ALL",
        help="what a meter beside the board shows with idle cores, one busy core and all; without both you are asked at each step",
    )  # fmt: skip
    parser.add_argument("--for", dest="time", default="20s", metavar="TIME", help="of each step (20s)")


def _watts(text: str) -> list[float]:
    try:
        return [_power(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected watts such as 2.3,3.1,6.8, got {text!r}") from error


def _power(text: str) -> float:
    """raise: ValueError for what is no power"""
    power_w = float(text)
    if not 0 <= power_w <= MOST_W:
        raise ValueError
    return power_w


def run(args: argparse.Namespace) -> Report:
    """Idle, one core, all cores."""
    from alula.device.power.board import identify
    from alula.device.power.calibrate import fit, measure_steps
    from alula.device.power.coefficients import save
    from alula.device.power.load import BusyCores
    from alula.runtime.budgets import parse_seconds
    from alula.runtime.errors import MeterError

    seconds, cores = parse_seconds(args.time, "--for"), os.cpu_count() or 1
    steps_wanted = len({0, 1, cores})
    if args.watts and (args.against or len(args.watts) != steps_wanted):
        raise MeterError(
            f"--watts: expected {steps_wanted} watts and no --against, got {len(args.watts)}; one for each of the steps of this machine"
        )
    if not (args.watts or args.against or sys.stdin.isatty()):
        raise MeterError(
            "alula power calibrate: expected --against METER or --watts IDLE,ONE,ALL, got neither; give one"
        )
    given = iter(args.watts or ())
    with contextlib.ExitStack() as stack:
        meter = stack.enter_context(opened(args.meter + RAW))
        reference = stack.enter_context(opened(args.against)) if args.against else None
        source = args.against or "watts by hand"
        load = stack.enter_context(BusyCores(cores))
        progress = stack.enter_context(Progress("calibrating"))

        def ask(busy: int) -> float:
            return next(given) if args.watts else _asked(busy)

        steps = measure_steps(
            meter, reference, ask, load, cores, seconds, tell=lambda at_s: progress(int(at_s), int(seconds), "a step")
        )
    line = fit(steps, meter.name)
    board = identify("/")
    what = f"{len(steps)} steps against {source}, {datetime.date.today().isoformat()}"
    path = save(line.correction(meter.name, board.model, board.serial, what))
    document = asdict(line) | {"meter": meter.name, "against": source, "file": str(path)}
    return Report(document, [_table(steps, line.gain, line.offset_w), _told(line), f"{printable(path)}: written"])


def _asked(busy: int) -> float:
    """What a person reads off a meter."""
    from alula.runtime.errors import MeterError

    while True:
        try:
            text = input(f"{busy} busy cores: watts that the meter shows now? ")
            return _power(text)
        except ValueError:
            print("expected a number, such as 3.4", file=sys.stderr)
        except EOFError as error:
            raise MeterError("alula power calibrate: expected watts, got the end of the input; start again") from error


def _table(steps: list[Step], gain: float, offset_w: float) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (step.cores, f"{step.raw_w:.3f}", "" if step.spread_w is None else f"{step.spread_w:.2g}", f"{step.reference_w:.3f}",
         f"{gain * step.raw_w + offset_w:.3f}")
        for step in steps
    ]  # fmt: skip
    return Table(("busy cores", "raw W", "spread W", "reference W", "corrected W"), rows)


def _told(line: object) -> str:
    gain, offset_w, residual_w = (getattr(line, name) for name in ("gain", "offset_w", "residual_w"))
    return f"power = {gain:.4g} x raw {offset_w:+.3g} W, within {residual_w:.2g} W of the reference"
