"""The grammar of budgets: what is written, what it means, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alula.runtime import budgets
from alula.runtime.budgets import (
    BatteryBudget,
    EnergyBudget,
    EnergyEachBudget,
    PowerBudget,
    TimeBudget,
    TimeEachBudget,
    parse_budget,
    parse_seconds,
)
from alula.runtime.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("200J", EnergyBudget(200.0)),
        ("1.5 kJ", EnergyBudget(1500.0)),
        ("0.5Wh", EnergyBudget(1800.0)),
        ("10mWh", EnergyBudget(36.0)),
        ("15min", TimeBudget(900.0)),
        (".5h", TimeBudget(1800.0)),
        ("2J/min", PowerBudget(2 / 60)),
        ("3W", PowerBudget(3.0)),
        ("250mW", PowerBudget(0.25)),
        ("8ms/frame", TimeEachBudget(0.008, "frame")),
        ("0.4J/frame", EnergyEachBudget(0.4, "frame")),
        ("30%battery", BatteryBudget(0.3)),
        (" 100 % battery ", BatteryBudget(1.0)),
    ],
)
def test_a_budget_means_what_it_says(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text",
    ["", "200", "J", "-3J", "0J", "1e3J", "inf J", "nanJ", "200j", "200J/", "200J/W", "3W/min", "3W/frame", "5min/h", "5s/J",
     "30%", "30%battery/min", "101%battery", "1J/min/min", "200J 3s", "9999999999999999J", "½J", "٣J", "2J/é"],
)  # fmt: skip
def test_what_is_no_budget_is_refused_in_one_line(text):
    with pytest.raises(BudgetError, match=r"^--budget: expected .*, got .*; ") as caught:
        parse_budget(text, "--budget")
    assert len(str(caught.value)) < 280


def test_every_example_of_the_grammar_is_read():
    examples = re.findall(r"`(\d[^`]*)`", budgets.__doc__)
    assert len(examples) > 12
    for text in [*examples, *budgets.GRAMMAR.replace(" or", ",").split(", ")]:
        parse_budget(text)


@given(st.floats(1e-3, 1e6), st.sampled_from([*budgets.ENERGY_J, *budgets.TIME_S, *budgets.POWER_W, "J/min", "s/step"]))
def test_what_a_budget_prints_is_read_as_the_same_one(amount, unit):
    budget = parse_budget(f"{amount:.6f}{unit}")
    again = parse_budget(str(budget))
    for name in ("energy_j", "seconds", "power_w"):
        assert getattr(again, name, 0) == pytest.approx(getattr(budget, name, 0), rel=1e-6)
    assert type(again) is type(budget)


def test_a_time_is_read_alone():
    assert parse_seconds("10min") == 600
    with pytest.raises(BudgetError, match="expected a time such as"):
        parse_seconds("10J")


def test_no_other_module_reads_units_of_energy_or_time():
    here = Path(budgets.__file__).parent.parent
    readers = [path for folder in ("alula", "runtime", "device") for path in (here / folder).rglob("*.py")
               if re.search(r'"(kJ|mWh|min)": *[\d.]', path.read_text(encoding="utf-8"))]  # fmt: skip
    assert {path.name for path in readers} == {"budgets.py"}
