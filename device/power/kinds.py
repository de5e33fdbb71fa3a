"""What a file in `meters/` offers: one kind of meter, how it is named, how it is opened, and how it is found.

The grammar of a name, as in `--meter`: KIND[:REST][,OPTION=VALUE]...; `i2c:1:0x40,shunt=0.1` is of the kind `i2c`, the rest is
`1:0x40`, and the options are {"shunt": "0.1"}. Commas, because no shell minds them. Every kind takes the options gain= and offset=,
a correction in place of a stored one (with gain=1,offset=0 a meter says what it reads), and max=, the most watts that can be.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from alula.device.power.coefficients import Correction
from alula.device.power.limits import MOST, NO_LIMITS, Limits
from alula.device.power.meter import Accuracy, Clock, Meter
from alula.runtime.errors import MeterError, MissingExtraError

OPTIONS = re.compile(r"(?:,[a-z_]+=[^,=]*)+$")


class Trust(enum.IntEnum):
    """The order of `auto`: the first that works is taken."""

    COUNTER = 0  # a hardware counter of energy
    SHUNT = 1
    CORRECTED = 2
    BATTERY = 3
    MODEL = 4
    GUESS = 5
    ASKED = 6  # never taken unless it is named


@dataclass(frozen=True)
class Candidate:
    """A source that this machine has, or could have.

    spec     : what to write after `--meter`
    meter    : open, or None if it cannot be used; whoever asked closes it
    accuracy : of its figures, also where it is not there
    covers   : what its watts are watts of
    missing  : why there is no meter, or why `auto` passes it over; else ''
    remedy   : how to get it: a group, a udev rule, an overlay line; else ''
    """

    spec: str
    trust: Trust
    meter: Meter | None
    accuracy: Accuracy
    covers: str
    missing: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Options:
    """OPTION=VALUE of a name. `only` refuses those that a kind does not know."""

    spec: str
    values: dict[str, str]

    def number(self, name: str, default: float | None = None, above: float = -math.inf) -> float | None:
        """A number > `above` that is at most MOST either way, or `default`. raise: MeterError"""
        if name not in self.values:
            return default
        text = self.values[name]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (abs(value) <= MOST and value > above):
            what = "a number" if above == -math.inf else f"a number above {above:g}"
            raise MeterError(
                f"power meter {self.spec}: expected {name}={what}, got {name}={text!r}; write {name}=0.1, say"
            )
        return value

    def only(self, *known: str) -> None:
        """raise: MeterError for an option that is none of these"""
        if unknown := sorted(self.values.keys() - set(known)):
            there = ", ".join(f"{name}=" for name in known) or "no options"
            raise MeterError(f"power meter {self.spec}: expected {there}, got {unknown[0]}=; leave it out")


def offer(spec: str, trust: Trust, accuracy: Accuracy, covers: str, make: Callable[[], Meter]) -> Candidate:
    """A candidate that `make` opens, or one whose refusal says what is missing.

    trust, accuracy, covers : of the kind, for a meter that is not there; one that is speaks for itself
    """
    try:
        meter = make()
    except (MeterError, MissingExtraError) as error:
        missing, _, remedy = str(error).removeprefix(f"{spec}: ").partition("; ")
        return Candidate(spec, trust, None, accuracy, covers, missing, remedy)
    if meter.accuracy is Accuracy.GUESSED:
        trust = Trust.GUESS
    return Candidate(spec, trust, meter, meter.accuracy, meter.covers)


@dataclass(frozen=True)
class Kind:
    """One kind of meter.

    name   : what its names begin with
    usage  : the forms of its name, for messages
    open   : (rest, options, root, clock) -> Meter; raises MeterError
    survey : (root, clock) -> what is there of this kind, and what could be; must change no device
    correction : of its figures, where the user has none
    calibrated : the class of its figures after a calibration
    limits : what its watts may be; the option max= sets another upper one
    """

    name: str
    usage: str
    open: Callable[[str, Options, Path, Clock], Meter]
    survey: Callable[[Path, Clock], Iterable[Candidate]]
    correction: Correction | None = None
    calibrated: Accuracy = Accuracy.CORRECTED
    limits: Limits = NO_LIMITS


def split(spec: str) -> tuple[str, str, Options]:
    """Kind, rest and options of a meter's name."""
    found = OPTIONS.search(spec)
    body = spec[: found.start()] if found else spec
    pairs = (
        [(pair.partition("=")[0], pair.partition("=")[2]) for pair in found.group().strip(",").split(",")]
        if found
        else []
    )
    kind, _, rest = body.partition(":")
    return kind, rest, Options(spec, dict(pairs))


def no_rest(kind: str, rest: str) -> None:
    """raise: MeterError if a kind that takes nothing after its name got something"""
    if rest:
        raise MeterError(f"power meter: expected {kind} alone, got '{kind}:{rest}'; leave out ':{rest}'")
