"""`alula power log [--for 10min] [-- COMMAND]`: log the energy of a time, of a command, or until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alula.child import Child, check_command
from alula.energy import add_meter, opened, own_notes, reads_input, tell_energy
from alula.live import LiveLine
from alula.outputs import check_outputs
from alula.report import Report
from alula.runtime.files import printable

if TYPE_CHECKING:
    from alula.device.power import EnergyLog, Meter
    from alula.device.power.idle import IdleBaseline
    from alula.runtime.budgets import Budget

SUMMARY = "log the energy of a time, of a command (its exit status is passed on), or until Ctrl-C"
ROWS, SUMMARIES = (".csv", ".jsonl"), (".json",)
UNWRITTEN = 2  # the status of a log without a command, one of whose files could not be written
MAX_HZ = 1000
LOOK_S = 0.5  # between two looks at the command and the budget
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The meter, how long, where to, what to run."""
    add_meter(parser, "default: auto")
    parser.add_argument(
        "--for", dest="budget", metavar="BUDGET", help="how long or how much: 10min, 200J; a command is ended then"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        help="FILE.json: the summary; FILE.csv or .jsonl: every reading, and the summary beside it",
    )  # fmt: skip
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="power over time")
    parser.add_argument(
        "--prometheus", type=Path, metavar="FILE.prom", help="for node_exporter, rewritten while it runs"
    )
    parser.add_argument("--rate", type=_rate_hz, default=10.0, metavar="HZ", help="readings a second (10)")
    parser.add_argument(
        "--idle", metavar="FILE|WATTS|none", help="the baseline of net figures; default: that of alula power idle"
    )
    parser.add_argument("command_line", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run meanwhile")


def _rate_hz(text: str) -> float:
    """Readings a second: without any, no budget of energy would ever be used up."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= MAX_HZ:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected readings a second, above 0 and at most {MAX_HZ}, got {text!r}")


def run(args: argparse.Namespace) -> Report:
    """Log, then report. The figures of a command go to standard error, for its own output to stay as it is."""
    from alula.device.power import EnergyLog
    from alula.runtime.budgets import parse_budget

    words = args.command_line[1:] if args.command_line[:1] == ["--"] else args.command_line
    budget = None if args.budget is None else parse_budget(args.budget, "--for")
    _check_budget(budget, args.budget)
    check_command(words)
    samples, summary_path = _paths(args.out)
    check_outputs([samples, summary_path, args.plot, args.prometheus])
    if args.plot:
        from alula.curves import check_format

        check_format(args.plot)
    status, failed = 0, dict[Path, str]()
    with contextlib.ExitStack() as stack:
        if args.plot and samples is None:
            samples = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "samples.csv"
        meter = stack.enter_context(opened(args.meter))
        idle, doubt = _baseline(args.idle, meter)
        log = EnergyLog(meter, samples, summary_path, rate_hz=args.rate, idle=idle, prometheus_path=args.prometheus)
        with log, LiveLine() as tell:
            try:
                if words:
                    with Child(words, has_input=not reads_input(args.meter)) as child:
                        for rest_s in _looks(log, budget, tell):
                            if child.wait(rest_s):
                                break
                    status = child.status
                else:
                    for rest_s in _looks(log, budget, tell):
                        time.sleep(rest_s)
            except KeyboardInterrupt as interrupt:
                if hasattr(interrupt, "status"):  # SIGTERM, SIGHUP: the log is closed on the way
                    raise
                status = INTERRUPTED if words else 0
        summary = log.summary()
        if args.plot and samples is not None:
            from alula.curves import draw_power

            try:
                draw_power(args.plot, samples, f"{summary['source']} ({summary['accuracy']})")
            except OSError as error:  # the figures are worth more than the picture
                failed[args.plot] = (
                    f"{printable(args.plot)}: expected room for the plot, got {error.strerror}; free some"
                )
    lines = [*told(summary), *([doubt] if doubt else []), *failed.values()]
    unwritten = {*failed, *log.unwritten}
    written = [path for path in (args.out, args.plot, args.prometheus) if path is not None and path not in unwritten]
    if unwritten and not words:
        status = status or UNWRITTEN
    lines += [f"{', '.join(map(printable, written))}: written"] if written else []
    if words:
        if not args.json:
            print("\n".join(lines), file=sys.stderr)
        lines = []
    return Report(summary | {"exit_status": status}, list(lines), status)


def told(summary: dict[str, Any]) -> list[str]:
    """A log in a few lines."""
    bound = summary["bound"]
    ratio = "" if bound["ratio"] is None else f" ({bound['ratio']:.1%})"
    known = [("mean", summary["mean_w"]), ("peak", summary["peak_w"])]
    powers = "".join(f", {name} {power_w:.3g} W" for name, power_w in known if power_w is not None)
    modelled = any(source["accuracy"] in ("modelled", "guessed") for source in summary["sources"])
    rest = ", and the model's own error, which is not known" if modelled else ""
    rate = f"{_rate(summary['sampling'])}; bound {bound['energy_j']:.2g} J{ratio}{rest}"
    lines = [tell_energy(summary), f"{summary['duration_s']:.1f} s{powers}; {rate}"]
    if summary["net_j"] is not None:
        spread = "" if summary["net_spread_j"] is None else f" +- {summary['net_spread_j']:.2g}"
        lines.append(
            f"net of {summary['idle_w']:.3g} W at rest: {summary['net_j']:.4g}{spread} J ({summary['net_accuracy']})"
        )
    lines += [f"{entry['count']} x {kind}, {entry['seconds']:.1f} s" for kind, entry in summary["counts"].items()]
    return lines + own_notes(summary["notes"])


def _rate(sampling: dict[str, Any]) -> str:
    hz, cost = sampling["achieved_hz"], sampling["sampler_cpu_ratio"]
    rate = f"{sampling['readings']} readings" + ("" if hz is None else f", {hz:.1f}/s")
    return rate + ("" if cost is None else f", {cost:.1%} of a core to read them")


def _paths(out: Path | None) -> tuple[Path | None, Path | None]:
    """Where the samples go, and the summary."""
    from alula.runtime.errors import SourceError

    if out is None:
        return None, None
    if out.suffix not in ROWS + SUMMARIES:
        raise SourceError(f"{out}: expected a name that ends in {', '.join(ROWS + SUMMARIES)}, got another; rename it")
    return (out, out.with_suffix(".json")) if out.suffix in ROWS else (None, out)


def _check_budget(budget: Budget | None, text: str | None) -> None:
    from alula.runtime.budgets import EnergyBudget, TimeBudget
    from alula.runtime.errors import BudgetError

    if not (budget is None or isinstance(budget, EnergyBudget | TimeBudget)):
        raise BudgetError(f"--for: expected a time or an energy such as 10min or 200J, got {text!r}; give one of them")


def _baseline(text: str | None, meter: Meter) -> tuple[IdleBaseline | None, str]:
    """The baseline that is asked for, or that of this machine if it is of this meter; and why it is not used."""
    from alula.device.power.idle import given_idle, idle_path, load_idle

    if text == "none":
        return None, ""
    if text is not None:
        try:
            return given_idle(float(text)), ""
        except ValueError:
            baseline = load_idle(Path(text))
    elif os.path.exists(idle_path()):
        baseline = load_idle(idle_path())
        if baseline.source != meter.name:
            return (
                None,
                f"no net figures: the baseline of this machine is of {baseline.source}; alula power idle measures another",
            )
    else:
        return None, ""
    return baseline, ""


def _looks(log: EnergyLog, budget: Budget | None, tell: LiveLine) -> Iterator[float]:
    """Until the budget is used up; shows the power on the way. gives: seconds until the next look"""
    from alula.runtime.budgets import EnergyBudget, TimeBudget

    while True:
        glance = log.glance()
        rest_s = budget.seconds - glance.seconds if isinstance(budget, TimeBudget) else LOOK_S
        if rest_s <= 0 or (isinstance(budget, EnergyBudget) and glance.energy_j >= budget.energy_j):
            return
        tell(glance.told())
        yield min(rest_s, LOOK_S)
