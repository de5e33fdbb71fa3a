"""`alula doctor`: what this machine is, what works on it, and how to fix the rest."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter

from alula.arguments import positive
from alula.progress import Progress
from alula.report import Cell, Report, Table

LIMIT_S = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long to wait."""
    parser.epilog = (
        "Verdicts: ok, note (worth knowing), warning (works, but not well), wrong (does not work). "
        "Exit status: 0 if nothing is wrong, 1 if something is, 2 if the command is used wrongly."
    )
    parser.add_argument(
        "--limit", type=positive, default=LIMIT_S, metavar="S",
        help=f"seconds after which an import or the self-test counts as hung ({LIMIT_S})",
    )  # fmt: skip


def run(args: argparse.Namespace) -> Report:
    """Examine this machine; status 1 if something is wrong."""
    from alula.device.doctor import CHECKS, Finding, Machine, Verdict, examine, worst

    findings: list[Finding] = []
    with Progress("examining") as progress:
        for finding in examine(Machine(child_limit_s=args.limit)):
            findings.append(finding)
            progress(min(len(findings), len(CHECKS)), len(CHECKS), finding.check)
    counts = Counter(finding.verdict for finding in findings)
    verdict = worst(findings)
    document = {
        "verdict": verdict,
        "counts": {name: counts[name] for name in Verdict},
        "facts": {name: value for finding in findings for name, value in finding.facts.items()},
        "checks": [{key: value for key, value in dataclasses.asdict(finding).items() if key != "facts"}
                   for finding in findings],
    }  # fmt: skip
    rows: list[tuple[Cell, ...]] = [(finding.check, finding.verdict, finding.found) for finding in findings]
    parts: list[Table | str] = [Table(("check", "verdict", "found"), rows)]
    parts += [f"{finding.verdict}: {finding.check}: {finding.fix}" for finding in findings if finding.fix]
    parts.append(", ".join(f"{counts[name]} {name}" for name in Verdict if counts[name]))
    return Report(document, parts, status=int(verdict is Verdict.WRONG))
