"""All checks, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from alula.device.doctor.access import devices, storage
from alula.device.doctor.dependencies import optional, required
from alula.device.doctor.finding import Finding, Verdict
from alula.device.doctor.heat import temperature, throttling
from alula.device.doctor.kernels import kernels
from alula.device.doctor.machine import Machine
from alula.device.doctor.memory import control_group, memory
from alula.device.doctor.power import power
from alula.device.doctor.processor import cpu, governor
from alula.device.doctor.system import board, kernel, operating_system, python


def _kernels(machine: Machine) -> list[Finding]:
    """The pack, the self-test, and the folder that kernels are kept in."""
    pack, test, cache = kernels(machine)
    return [pack, test, storage(cache or _usual_cache())]


def _usual_cache() -> Path | None:
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or (os.path.join(home, ".cache") if home != "~" else "")
    return Path(cache, "alula") if cache else None


CHECKS: tuple[Callable[[Machine], Finding | list[Finding]], ...] = (
    board, operating_system, kernel, python, cpu, required, _kernels, optional, temperature, throttling, governor,
    memory, control_group, devices, power,
)  # fmt: skip


def examine(machine: Machine | None = None) -> Iterator[Finding]:
    """Every finding, one after the other: those that need a child process take a second or so each."""
    here = machine or Machine()
    for check in CHECKS:
        try:
            found = check(here)
        except OSError as error:  # what this user may not look at; the other findings still help
            name = check.__name__.strip("_").replace("_", " ")
            found = Finding(name, Verdict.NOTE, f"could not be examined: {error}")
        yield from found if isinstance(found, list) else [found]
