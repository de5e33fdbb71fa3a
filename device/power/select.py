"""Choose a meter: the most trusted source on this machine, and why better ones were refused.

The order of trust is that of `Trust` in kinds.py. No meter is known here by name: see meters/.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from alula.device.power.board import identify
from alula.device.power.coefficients import Correction, find, load
from alula.device.power.corrected import Corrected
from alula.device.power.guard import Guarded
from alula.device.power.kinds import Candidate, Kind, Options, Trust, split
from alula.device.power.limits import Judging
from alula.device.power.meter import Accuracy, Clock, Meter
from alula.device.power.meters import kinds
from alula.runtime.errors import MeterError


def usage() -> str:
    """All forms of a meter's name, for messages and help."""
    return "auto, " + ", ".join(kind.usage for kind in kinds().values())


def select_meter(spec: str = "auto", root: Path | str = "/", clock: Clock = time.monotonic_ns) -> Meter:
    """The meter that `spec` names, or with `auto` the most trusted one that works, with its correction.

    spec  : see `usage`. The model is always there, so `auto` always succeeds; what it refused is in its `notes`
    root  : the folder that holds sys/, proc/ and dev/
    raise : MeterError if a named meter is not there, or the name is unknown, or the file of corrections is damaged
    """
    name, rest, options = split(spec)
    if spec == "auto":
        return _most_trusted(Path(root), clock)
    if name not in kinds():
        raise MeterError(f"power meter: expected {usage()}, got '{spec}'")
    kind = kinds()[name]
    own = {name: value for name, value in options.values.items() if name not in ("gain", "offset", "max")}
    most_w = options.number("max", above=0)
    limits = kind.limits if most_w is None else kind.limits.up_to(most_w)
    given = _given(options)
    meter = kind.open(rest, Options(spec, own), Path(root), clock)
    corrected = _corrected(meter, kind, Path(root), given)
    if isinstance(meter, Judging):
        try:
            meter.judge(corrected.raw(limits) if isinstance(corrected, Corrected) else limits)
        except MeterError:
            meter.close()
            raise
    return Guarded(corrected, limits)


def survey(root: Path | str = "/", clock: Clock = time.monotonic_ns) -> list[Candidate]:
    """Every source that is there or could be, the most trusted first. Their meters are open: close them."""
    found = [
        _corrected_candidate(candidate, kind, Path(root))
        for kind in kinds().values()
        for candidate in kind.survey(Path(root), clock)
    ]
    return sorted(found, key=lambda candidate: candidate.trust)


def _most_trusted(root: Path, clock: Clock) -> Meter:
    """The first candidate that has nothing missing; the others are closed."""
    load()  # a damaged file of corrections is the error, and not that all meters are refused for it
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


def _given(options: Options) -> Correction | None:
    """The correction in a meter's name, if there is one."""
    gain, offset_w = options.number("gain", above=0), options.number("offset")
    return None if gain is None and offset_w is None else Correction(1.0 if gain is None else gain, offset_w or 0.0)


def _corrected(meter: Meter, kind: Kind, root: Path, given: Correction | None = None) -> Meter:
    """The meter with its correction: that of its name, else that of the file for this board, else that of its kind."""
    try:
        stored = None if given else find(load(), meter.name, identify(root))
    except MeterError:
        meter.close()
        raise
    correction = given or stored or kind.correction
    if correction is None or correction.is_none:
        return meter
    return Corrected(meter, correction, kind.calibrated)


def _corrected_candidate(candidate: Candidate, kind: Kind, root: Path) -> Candidate:
    if candidate.meter is None:
        return candidate
    try:
        corrected = _corrected(candidate.meter, kind, root)
        meter = Guarded(corrected, kind.limits)
        meter.read()
    except MeterError as error:
        candidate.meter.close()
        missing, _, remedy = str(error).partition("; ")
        return dataclasses.replace(candidate, meter=None, missing=missing, remedy=remedy)
    trust, missing, remedy = candidate.trust, candidate.missing, candidate.remedy
    if (
        candidate.accuracy is Accuracy.GUESSED and meter.accuracy is not Accuracy.GUESSED
    ):  # calibrated: no doubt is left
        trust, missing, remedy = (Trust.CORRECTED if meter.accuracy is Accuracy.CORRECTED else Trust.MODEL), "", ""
    return dataclasses.replace(
        candidate, meter=meter, accuracy=meter.accuracy, trust=trust, missing=missing, remedy=remedy
    )
