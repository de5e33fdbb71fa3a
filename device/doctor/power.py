"""The power meter that `alula run --energy` would use, queried in a child process (it imports psutil)."""

from __future__ import annotations

from alula.device.doctor.finding import Fact, Finding, Verdict
from alula.device.doctor.machine import Machine
from alula.device.doctor.probe import ask_child

SELECT = """
from alula.device.power import select_meter
meter = select_meter("auto", sys.argv[1])
answer({"name": meter.name, "accuracy": meter.accuracy.value, "covers": meter.covers, "notes": list(meter.notes)})
"""
SENSOR = "for measured joules fit a power monitor (INA226, INA260) on the I2C bus; what else there is: alula power list"


def power(machine: Machine) -> Finding:
    """Its name, whether it measures or models, and what its makers would have the reader know."""
    outcome = ask_child(SELECT, machine.child_limit_s, str(machine.root))
    if outcome.trouble:
        return Finding("power meter", Verdict.NOTE, f"none: {outcome.trouble}", "fix psutil, if it is wrong above",
                       {"meter": None})  # fmt: skip
    meter = outcome.answer
    notes = [note for note in meter["notes"] if not note.startswith("not used: ")]
    facts: dict[str, Fact] = {"meter": meter["name"], "meter_accuracy": meter["accuracy"],
                              "meter_covers": meter["covers"], "meter_notes": "; ".join(meter["notes"])}  # fmt: skip
    found = f"{meter['name']} ({meter['accuracy']}): {meter['covers']}" + "".join(f"; {note}" for note in notes)
    if meter["accuracy"] != "measured":
        return Finding("power meter", Verdict.NOTE, found, SENSOR, facts)
    return Finding("power meter", Verdict.NOTE if notes else Verdict.OK, found, facts=facts)
