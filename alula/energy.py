"""What commands share to say joules beside time: the option --meter, the log, the line."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alula.device.power import EnergyLog, Meter

METER = "METER"
MEASURED_S, READINGS = 1.0, 10
NAMES = "auto, pmic, rapl, hwmon, i2c:1:0x40, csv:FILE, model, ... (alula power list)"


def add_meter(parser: argparse._ActionsContainer, what: str) -> None:
    """--meter. what : what is done with it"""
    parser.add_argument("--meter", metavar=METER, help=f"power meter: {NAMES}; {what}")


@contextlib.contextmanager
def opened(spec: str | None) -> Iterator[Meter]:
    """The meter of this name, closed in the end."""
    from alula.device.power import select_meter

    with contextlib.closing(select_meter(spec or "auto")) as meter:
        yield meter


def reads_input(spec: str | None) -> bool:
    """Whether the meter of this name has its rows from standard input: a command beside it must leave them alone."""
    from alula.device.power.kinds import split

    return spec is not None and split(spec)[1] == "-"


@contextlib.contextmanager
def running_log(
    spec: str | None, samples: Path | None = None, summary: Path | None = None, **options: Any
) -> Iterator[EnergyLog]:
    """A running log on the meter of this name; `auto` without one. options : of EnergyLog"""
    from alula.device.power import EnergyLog

    with opened(spec) as meter, EnergyLog(meter, samples, summary, **options) as log:
        yield log


@contextlib.contextmanager
def asked_log(spec: str | None) -> Iterator[EnergyLog | None]:
    """The log that --meter asks for, or None."""
    if spec is None:
        yield None
        return
    with running_log(spec) as log:
        yield log


def up_to_now(log: EnergyLog) -> dict[str, Any]:
    """The summary of a log that runs on, with what was used since the sampler's last look: a short run lies between two."""
    log.sample()
    return log.summary()


def joules_each(log: EnergyLog, run: Callable[[], object]) -> float:
    """Joules of one run, of runs for MEASURED_S and READINGS readings at least. What rests meanwhile counts, too."""
    enough_s = max(MEASURED_S, READINGS * log.period_s)
    mark, begun_s, runs = log.mark(), time.monotonic(), 0
    while time.monotonic() - begun_s < enough_s:
        run()
        runs += 1
    return log.energy_j(mark) / runs


def tell_energy(summary: dict[str, Any], item: str = "") -> str:
    """Joules, joules for each `item`, class and source, in one line."""
    from alula.device.power.report import tell_energy

    return tell_energy(summary, item)


def notes_of(meters: Iterable[Meter]) -> list[str]:
    """What a reader of their figures should know; not why `auto` passed others over, which `alula power list` says."""
    return own_notes(note for meter in meters for note in meter.notes)


def own_notes(notes: Iterable[str]) -> list[str]:
    """The same of notes."""
    return [note for note in notes if not note.startswith("not used: ")]
