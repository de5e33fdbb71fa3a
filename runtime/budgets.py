"""Budgets: how much energy, time or battery something may take. One grammar, wherever they come.

| written | means |
|---|---|
| `200J`, `1.5kJ`, `0.2Wh`, `500mWh` | energy |
| `15min`, `90s`, `1.5h`, `200ms` | time |
| `2J/min`, `0.5J/s`, `100J/h`, `3W` | mean power |
| `8ms/frame`, `0.4J/frame`, `20J/epoch` | time or energy for each of what is counted |
| `30%battery` | a part of the battery's capacity |

A number is written with a decimal point, and is above 0. Spaces do not matter. Units are written as above: `mJ` and `MJ` differ.
"""

from __future__ import annotations

import re

from alula.runtime.errors import BudgetError
from alula.runtime.frozen import frozen

ENERGY_J = {"mJ": 1e-3, "J": 1.0, "kJ": 1e3, "MJ": 1e6, "mWh": 3.6, "Wh": 3600.0, "kWh": 3.6e6}
TIME_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
POWER_W = {"mW": 1e-3, "W": 1.0}
BATTERY = "%battery"
GRAMMAR = "200J, 15min, 2J/min, 3W, 8ms/frame, 0.4J/frame or 30%battery"
TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([A-Za-z%]+)(?:/([A-Za-z][\w-]*))?", re.ASCII)
MOST = 1e15  # of any unit: beyond it the number is a slip of the finger


def _figure(value: float) -> str:
    """Without an exponent, which the grammar has not."""
    return f"{value:.12f}".rstrip("0").rstrip(".")


@frozen
class EnergyBudget:
    """So many joules in all."""

    energy_j: float

    def __str__(self) -> str:
        return f"{_figure(self.energy_j)}J"


@frozen
class TimeBudget:
    """So many seconds in all."""

    seconds: float

    def __str__(self) -> str:
        return f"{_figure(self.seconds)}s"


@frozen
class PowerBudget:
    """So many watts on average."""

    power_w: float

    def __str__(self) -> str:
        return f"{_figure(self.power_w)}W"


@frozen
class EnergyEachBudget:
    """So many joules for each `item`: a frame, a step, an epoch."""

    energy_j: float
    item: str

    def __str__(self) -> str:
        return f"{_figure(self.energy_j)}J/{self.item}"


@frozen
class TimeEachBudget:
    """So many seconds for each `item`."""

    seconds: float
    item: str

    def __str__(self) -> str:
        return f"{_figure(self.seconds)}s/{self.item}"


@frozen
class BatteryBudget:
    """A part of the battery's capacity, above 0 to 1."""

    capacity_ratio: float

    def __str__(self) -> str:
        return f"{_figure(100 * self.capacity_ratio)}{BATTERY}"


Budget = EnergyBudget | TimeBudget | PowerBudget | EnergyEachBudget | TimeEachBudget | BatteryBudget


def parse_budget(text: str, where: str = "budget") -> Budget:
    """Read a budget; `str` of it is read as the same one.

    where : what the error is about, such as the option's name
    raise : BudgetError
    """
    found = TERM.fullmatch("".join(text.split()))
    amount = float(found[1]) if found else 0.0
    if found is None or not 0 < amount <= MOST:
        raise BudgetError(f"{where}: expected {GRAMMAR}, got {text[:40]!r}; a number above 0 and a unit")
    unit, per = found[2], found[3]
    if unit == BATTERY and per is None:
        if amount > 100:
            raise BudgetError(f"{where}: expected at most 100{BATTERY}, got {text[:40]!r}; give a part of the battery")
        return BatteryBudget(amount / 100)
    if per in ENERGY_J or per in POWER_W or unit not in {*ENERGY_J, *TIME_S, *(() if per else POWER_W)}:
        units = ", ".join((*ENERGY_J, *TIME_S, *POWER_W, BATTERY))
        raise BudgetError(f"{where}: expected one of the units {units}, got {text[:40]!r}; for example {GRAMMAR}")
    if unit in POWER_W:
        return PowerBudget(amount * POWER_W[unit])
    if per in TIME_S:
        if unit in TIME_S:
            raise BudgetError(f"{where}: expected energy over time such as 2J/min, got {text[:40]!r}; give joules")
        return PowerBudget(amount * ENERGY_J[unit] / TIME_S[per])
    if unit in TIME_S:
        seconds = amount * TIME_S[unit]
        return TimeEachBudget(seconds, per) if per else TimeBudget(seconds)
    energy_j = amount * ENERGY_J[unit]
    return EnergyEachBudget(energy_j, per) if per else EnergyBudget(energy_j)


def parse_seconds(text: str, where: str = "time") -> float:
    """A budget that must be a time, in seconds. raise: BudgetError"""
    budget = parse_budget(text, where)
    if not isinstance(budget, TimeBudget):
        raise BudgetError(f"{where}: expected a time such as 90s, 15min or 1.5h, got {text[:40]!r}; give seconds")
    return budget.seconds
