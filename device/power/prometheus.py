"""A summary for node_exporter's textfile collector, in Prometheus' text format 0.0.4: one series for each phase and class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alula.device.power.report import replace_text


def write_prometheus(path: Path, summary: dict[str, Any]) -> None:
    """Write the summary in one step: the collector never reads half a file. raise: OSError"""
    replace_text(path, prometheus_text(summary))


def prometheus_text(summary: dict[str, Any]) -> str:
    """The figures as text."""
    source = f'source="{_label(summary["source"])}"'
    whole = f'{source},accuracy="{_label(summary["accuracy"])}"'
    phases = dict(summary["phases"]) | {"(other)": summary["other"], "(gap)": summary["gap"]}
    energy = [
        (f'phase="{_label(name)}",{source},accuracy="{accuracy}"', energy_j)
        for name, phase in phases.items()
        for accuracy, energy_j in (phase["by_class_j"] or {summary["accuracy"]: 0.0}).items()
    ]
    sampling, bound = summary["sampling"], summary["bound"]
    families: list[tuple[str, str, list[tuple[str, Any]]]] = [
        ("alula_energy_joules", "Energy of this run by phase and class; (other): outside all phases; (gap): no readings.", energy),
        ("alula_energy_bound_joules", "How far the energy may be from the integral of the power.", [(whole, bound["energy_j"])]),
        ("alula_duration_seconds", "Length of this run.", [("", summary["duration_s"])]),
        ("alula_power_watts", "Mean power of this run.", [(whole, summary["mean_w"])]),
        ("alula_sample_rate_hertz", "Readings a second.", [(source, sampling["achieved_hz"])]),
        ("alula_sample_age_seconds", "Age of the newest reading when this was written.", [(source, sampling["age_s"])]),
        ("alula_count", "What was counted in this run.",
         [(f'name="{_label(name)}"', counter["count"]) for name, counter in summary["counters"].items()]),
    ]  # fmt: skip
    return "".join(_family(*family) for family in families)


def _family(name: str, about: str, series: list[tuple[str, Any]]) -> str:
    known = [(labels, value) for labels, value in series if value is not None]
    if not known:
        return ""
    lines = [f"# HELP {name} {about}", f"# TYPE {name} gauge"]
    lines += [
        f"{name}{'{' + labels + '}' if labels else ''} {value if isinstance(value, int) else repr(float(value))}"
        for labels, value in known
    ]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
