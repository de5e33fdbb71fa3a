"""What a check found."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

UNKNOWN = "not known here"
Fact = str | int | float | bool | None


class Verdict(enum.StrEnum):
    """From best to worst. A note is worth knowing and needs no action; `wrong` is what will not work."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    check : its name, one word
    found : one line for people
    fix  : how to fix it, one line; empty if there is nothing to fix
    facts : the same for machines, by a name that is unique in the whole report
    """

    check: str
    verdict: Verdict
    found: str
    fix: str = ""
    facts: dict[str, Fact] = field(default_factory=dict)


def unknown(check: str, **facts: Fact) -> Finding:
    """A check that has nothing to read on this machine."""
    return Finding(check, Verdict.OK, UNKNOWN, facts=facts)


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict of all."""
    order = list(Verdict)
    return max((finding.verdict for finding in findings), key=order.index, default=Verdict.OK)
