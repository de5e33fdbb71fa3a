"""`alula power list|log|idle|check|calibrate|compare`: energy in the field (docs/energy.md). What each does is in `alula/metering/`."""

from __future__ import annotations

import argparse

from alula.metering import commands
from alula.report import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of each command of `power`."""
    inner = parser.add_subparsers(dest="power", metavar="COMMAND", required=True)
    for name, module in commands().items():
        summary = module.SUMMARY
        sub = inner.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        module.add_arguments(sub)
        # Suppressed: the default of the inner one would hide what stands before it.
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")


def run(args: argparse.Namespace) -> Report:
    """The one that was named."""
    return commands()[args.power].run(args)
