"""From a ledger to summary figures and their files: a JSON summary and a Prometheus textfile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alula.device.power.ledger import OTHER, Account, Ledger
from alula.device.power.meter import Accuracy
from alula.runtime.files import write_whole

J_PER_MWH = 3.6


def energy_figures(ledger: Ledger, counters: dict[str, int], idle_w: float | None) -> dict[str, Any]:
    """The energy part of a summary. Net figures are None without an idle baseline.

    `phases[..].energy_j` is exclusive: a phase without the phases inside it, so that phases, `other` and `gap`
    add up to `energy_j`. `inclusive_j` is with them. `counters[..].each_j` is all energy over the count.
    """
    duration_s = ledger.duration_s
    net_j = None if idle_w is None else ledger.energy_j - idle_w * duration_s
    gap = ledger.gap
    return {
        "duration_s": duration_s,
        "energy_j": ledger.energy_j,
        "energy_mwh": ledger.energy_j / J_PER_MWH,
        "mean_w": _ratio(ledger.energy_j, duration_s),
        "peak_w": ledger.peak_w,
        "idle_w": idle_w,
        "net_j": net_j,
        "counters": {
            name: {"count": count, "each_j": _ratio(ledger.energy_j, count), "each_net_j": _ratio(net_j, count)}
            for name, count in sorted(counters.items())
        },
        "phases": {path: _phase(ledger, path, idle_w) for path in sorted(ledger.phases) if path != OTHER},
        "other": _phase(ledger, OTHER, idle_w),
        "gap": {
            "count": gap.count,
            "seconds": gap.seconds,
            "energy_j": gap.energy_j,
            "counted_j": gap.counted_j,
            "guessed_j": gap.energy_j - gap.counted_j,
            "unknown_s": gap.unknown_s,
        },
    }


def _phase(ledger: Ledger, path: str, idle_w: float | None) -> dict[str, Any]:
    account = ledger.phases[path]
    family = [account]
    if path != OTHER:
        family += [inner for name, inner in ledger.phases.items() if name.startswith(path + "/")]
    whole = Account(sum(a.energy_j for a in family), sum(a.seconds for a in family), sum(a.gap_s for a in family))
    covered_s = account.seconds - account.gap_s
    figures: dict[str, Any] = {
        "seconds": account.seconds,
        "gap_s": account.gap_s,
        "energy_j": account.energy_j,
        "net_j": None if idle_w is None else account.energy_j - idle_w * covered_s,
        "mean_w": _ratio(account.energy_j, covered_s),
    }
    if path != OTHER:
        figures |= {
            "inclusive_s": whole.seconds,
            "inclusive_j": whole.energy_j,
            "calls": account.calls,
            "each_j": _ratio(whole.energy_j, account.calls),
        }
    return figures


def sources_figures(ledger: Ledger, accuracies: dict[str, Accuracy]) -> list[dict[str, Any]]:
    """What each meter contributed, with its accuracy."""
    return [
        {"source": name, "accuracy": accuracies[name].value, "energy_j": source.energy_j, "seconds": source.seconds}
        for name, source in ledger.sources.items()
    ]


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write the summary as JSON: the old file or the new one is there, at any moment. raise: OSError"""
    _replace(path, json.dumps(summary, indent=2) + "\n")


def write_prometheus(path: Path, summary: dict[str, Any]) -> None:
    """Write the summary for node_exporter's textfile collector. raise: OSError"""
    _replace(path, prometheus_text(summary))


def prometheus_text(summary: dict[str, Any]) -> str:
    """The figures in Prometheus' text format 0.0.4."""
    source = f'source="{_label(summary["source"])}",accuracy="{_label(summary["accuracy"])}"'
    phases = dict(summary["phases"]) | {"(other)": summary["other"], "(gap)": summary["gap"]}
    lines = [
        "# HELP alula_energy_joules Energy of this run by phase; (other): outside all phases; (gap): no readings.",
        "# TYPE alula_energy_joules gauge",
    ]
    lines += [
        f'alula_energy_joules{{phase="{_label(name)}",{source}}} {float(phase["energy_j"])!r}'
        for name, phase in phases.items()
    ]
    lines += ["# HELP alula_duration_seconds Length of this run.", "# TYPE alula_duration_seconds gauge"]
    lines += [f"alula_duration_seconds {float(summary['duration_s'])!r}"]
    if summary["mean_w"] is not None:
        lines += ["# HELP alula_power_watts Mean power of this run.", "# TYPE alula_power_watts gauge"]
        lines += [f"alula_power_watts{{{source}}} {float(summary['mean_w'])!r}"]
    if summary["counters"]:
        lines += ["# HELP alula_count What was counted in this run.", "# TYPE alula_count gauge"]
        lines += [f'alula_count{{name="{_label(n)}"}} {c["count"]}' for n, c in summary["counters"].items()]
    return "\n".join(lines) + "\n"


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda handle: handle.write(text.encode()))


def _ratio(value: float | None, by: float) -> float | None:
    return value / by if value is not None and by > 0 else None


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
