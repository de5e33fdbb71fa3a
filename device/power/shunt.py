"""What every meter with a shunt resistor has to say: its value, and what is wrong when nobody has said it.

A chip measures volts over the shunt; its amperes are as right as the shunt's value. Boards carry 0.1 Ohm (printed R100), 0.01 (R010)
or 0.002 (R002), so a wrong value is wrong by a factor of 10 or 50.
"""

from __future__ import annotations

import dataclasses
import re

from alula.device.power.kinds import Candidate, Options, Trust
from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy
from alula.runtime.errors import MeterError

COVERS = "what flows through the shunt"
USUAL_OHM = 0.1
LARGEST_OHM = 1.0  # over it, an ampere would cost the board a fifth of its 5 V
# A running Pi with its camera lies well inside; outside, the shunt's value is the first suspect.
MIN_BOARD_W, MAX_BOARD_W = 0.3, 60.0
LIMITS = Limits(-MAX_BOARD_W, MAX_BOARD_W)


def shunt_ohm(options: Options) -> float | None:
    """The option shunt=, in Ohm, or None. raise: MeterError if it cannot be a shunt"""
    ohm = options.number("shunt", above=0)
    if ohm is not None and ohm > LARGEST_OHM:
        raise MeterError(f"power meter {options.spec}: expected a shunt of at most {LARGEST_OHM:g} Ohm, got {ohm:g}; "
                         f"it is in Ohm: R100 is shunt=0.1, R010 is shunt=0.01")  # fmt: skip
    return ohm


def implausible(name: str, power_w: float) -> str:
    """What is odd about a board's watts; '' if nothing is."""
    if power_w < 0:
        return f"{name}: power is negative ({power_w:.2f} W): the battery charges, or the shunt is turned round"
    if not MIN_BOARD_W <= power_w <= MAX_BOARD_W:
        return f"{name}: {power_w:.2f} W is not plausible for a running board; check the shunt's value and the wiring"
    return ""


def doubtful(candidate: Candidate) -> Candidate:
    """A candidate whose shunt nobody has said is not taken by `auto`: it may be wrong by a factor of ten."""
    if candidate.accuracy is not Accuracy.GUESSED:
        return candidate
    missing, remedy = (
        "nobody has said its shunt",
        f"read its print (R100 is 0.1 Ohm) and name it: {candidate.spec},shunt=0.1",
    )
    return dataclasses.replace(candidate, trust=Trust.SHUNT, missing=missing, remedy=remedy)


def one_of_many(candidates: list[Candidate]) -> list[Candidate]:
    """Where several would do, `auto` takes none of them: they measure different wires."""
    usable = [candidate for candidate in candidates if not candidate.missing]
    if len(usable) < 2:
        return candidates
    return [
        candidate
        if candidate.missing
        else dataclasses.replace(
            candidate, missing=f"one power monitor of {len(usable)}", remedy=f"choose it: {candidate.spec}"
        )
        for candidate in candidates
    ]


def channel_number(spec: str, text: str) -> int:
    """1 to 3. raise: MeterError"""
    if not re.fullmatch("[123]?", text):
        raise MeterError(
            f"power meter {spec}: expected a channel from 1 to 3, got '{text}'; leave it out for the first"
        )
    return int(text or 1)
