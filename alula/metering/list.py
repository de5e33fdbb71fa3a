"""`alula power list`: every source of power figures, what each is worth, and how to get those that are missing."""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import TYPE_CHECKING

from alula.energy import notes_of
from alula.report import Cell, Report, Table

if TYPE_CHECKING:
    from alula.device.power import Candidate, Meter, Reading

SUMMARY = "list every source of power figures: its class, what it says now, what is missing and how to get it"
APART = 0.2  # of the larger one: two sensors that differ by more are said
LOOK_S = 0.3  # between the two readings of a counter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""
    parser.epilog = "A machine without a meter is no error: the exit status is 0."


def run(args: argparse.Namespace) -> Report:
    """Look at each source twice."""
    from alula.device.power import survey

    candidates = survey()
    with contextlib.ExitStack() as stack:
        for candidate in candidates:
            if candidate.meter is not None:
                stack.callback(candidate.meter.close)
        first = [_read(candidate.meter) for candidate in candidates]
        time.sleep(LOOK_S)
        powers = [_power_w(before, _read(candidate.meter)) for before, candidate in zip(first, candidates, strict=True)]
        notes = notes_of(candidate.meter for candidate in candidates if candidate.meter)
        intervals = [None if candidate.meter is None else candidate.meter.interval_s for candidate in candidates]
    differ = disagreements(candidates, powers)
    chosen = next((candidate for candidate in candidates if candidate.meter and not candidate.missing), None)
    document = {
        "sources": [
            {
                "meter": candidate.spec,
                "accuracy": candidate.accuracy.value,
                "there": candidate.meter is not None,
                "power_w": power_w,
                "interval_s": interval_s,
                "covers": candidate.covers,
                "missing": candidate.missing,
                "remedy": candidate.remedy,
            }
            for candidate, power_w, interval_s in zip(candidates, powers, intervals, strict=True)
        ],
        "auto": None if chosen is None else chosen.spec,
        "disagreements": differ,
        "notes": notes,
    }
    rows: list[tuple[Cell, ...]] = [
        (candidate.spec, "yes" if candidate.meter else "no", candidate.accuracy.value,
         "" if power_w is None else f"{power_w:.3g}", candidate.covers)
        for candidate, power_w in zip(candidates, powers, strict=True)
    ]  # fmt: skip
    parts: list[Table | str] = [Table(("--meter", "there", "class", "W now", "covers"), rows)]
    parts += [_lacking(candidate) for candidate in candidates if candidate.missing]
    parts += [*notes, *differ]
    if chosen is None or chosen.accuracy.value not in ("measured", "corrected"):
        parts.append("no meter that measures this board; figures are modelled or guessed, and say so")
    if chosen is not None:
        parts.append(f"auto takes {chosen.spec} ({chosen.accuracy.value})")
    return Report(document, parts)


def disagreements(candidates: list[Candidate], powers: list[float | None]) -> list[str]:
    """What is to say of sensors that differ; those of a part of the machine, and models, differ from others by nature."""
    from alula.device.power import Trust

    whole = (Trust.SHUNT, Trust.CORRECTED, Trust.BATTERY)
    there = [(candidate.spec, power_w) for candidate, power_w in zip(candidates, powers, strict=True)
             if power_w is not None and candidate.trust in whole]  # fmt: skip
    return [
        f"{spec} and {other} differ: {power_w:.3g} W and {other_w:.3g} W; alula power check --meter {spec} --against {other} tells more"
        for number, (spec, power_w) in enumerate(there)
        for other, other_w in there[number + 1 :]
        if abs(power_w - other_w) > APART * max(abs(power_w), abs(other_w))
    ]


def _lacking(candidate: Candidate) -> str:
    remedy = f"; {candidate.remedy}" if candidate.remedy else ""
    return f"{candidate.spec}: {candidate.missing}{remedy}"


def _read(meter: Meter | None) -> Reading | None:
    from alula.runtime.errors import MeterError

    if meter is None:
        return None
    try:
        return meter.read()
    except MeterError:
        return None


def _power_w(before: Reading | None, after: Reading | None) -> float | None:
    """The power of two readings: of a counter, their difference."""
    if before is None or after is None:
        return None
    if before.energy_j is not None and after.energy_j is not None and after.t_ns > before.t_ns and not after.restarted:
        return (after.energy_j - before.energy_j) / (after.t_ns - before.t_ns) * 1e9
    return after.power_w
