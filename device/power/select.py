"""Choose a meter: the most trusted source on this machine, and why better ones were refused.

The order of trust is that of `Trust` in kinds.py. No meter is known here by name: see meters/.
"""

from __future__ import annotations

import time
from pathlib import Path

from alula.device.power.kinds import Candidate, Trust, split
from alula.device.power.meter import Clock, Meter
from alula.device.power.meters import kinds
from alula.runtime.errors import MeterError


def usage() -> str:
    """All forms of a meter's name, for messages and help."""
    return "auto, " + ", ".join(kind.usage for kind in kinds().values())


def select_meter(spec: str = "auto", root: Path | str = "/", clock: Clock = time.monotonic_ns) -> Meter:
    """The meter that `spec` names, or with `auto` the most trusted one that works.

    spec  : see `usage`. The model is always there, so `auto` always succeeds; what it refused is in its `notes`
    root  : the folder that holds sys/, proc/ and dev/
    raise : MeterError if a named meter is not there, or the name is unknown
    """
    name, rest, options = split(spec)
    if spec == "auto":
        return _most_trusted(Path(root), clock)
    if name not in kinds():
        raise MeterError(f"power meter: expected {usage()}, got '{spec}'")
    return kinds()[name].open(rest, options, Path(root), clock)


def survey(root: Path | str = "/", clock: Clock = time.monotonic_ns) -> list[Candidate]:
    """Every source that is there or could be, the most trusted first. Their meters are open: close them."""
    found = [candidate for kind in kinds().values() for candidate in kind.survey(Path(root), clock)]
    return sorted(found, key=lambda candidate: candidate.trust)


def _most_trusted(root: Path, clock: Clock) -> Meter:
    """The first candidate that has nothing missing; the others are closed."""
    candidates = survey(root, clock)
    refused: list[str] = []
    chosen: Meter | None = None
    for candidate in candidates:
        if chosen is None and candidate.trust is not Trust.ASKED:
            if candidate.meter is not None and not candidate.missing:
                chosen = candidate.meter
                continue
            refused.append(f"not used: {candidate.spec}: {candidate.missing}")
        if candidate.meter is not None:
            candidate.meter.close()
    if chosen is None:
        raise MeterError(f"power meter: expected at least the utilisation model, got none: {'; '.join(refused)}")
    chosen.notes = (*chosen.notes, *refused)
    return chosen
