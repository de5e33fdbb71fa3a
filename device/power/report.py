"""From a ledger to the figures of a summary, each with its class.

Energy of different classes is added up only together with `by_class_j`, which has its parts, and `accuracy`, the worst class of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alula.device.power.accounts import FJ, OTHER, Account, Energy
from alula.device.power.bounds import bound_figures
from alula.device.power.idle import IdleBaseline
from alula.device.power.ledger import Ledger
from alula.device.power.meter import Accuracy, worst
from alula.runtime.files import write_whole

J_PER_MWH = 3.6


@dataclass(frozen=True)
class Glance:
    """The figures of a log that runs, for a line that is rewritten. seconds : until now, with what is not booked yet"""

    seconds: float
    energy_j: float
    power_w: float | None
    source: str
    accuracy: Accuracy

    def told(self) -> str:
        """In one line."""
        power = "" if self.power_w is None else f"{self.power_w:.3g} W, "
        return f"{power}{self.energy_j:.4g} J in {self.seconds:.0f} s ({self.accuracy.value}, {self.source})"


def energy_figures(ledger: Ledger, counters: dict[str, int], idle: IdleBaseline | None) -> dict[str, Any]:
    """The energy part of a summary. Net figures are None without an idle baseline.

    `phases[..].energy_j` is exclusive: a phase without the phases inside it, so that phases, `other` and `gap`
    add up to `energy_j`. `inclusive_j` is with them. `counters[..].each_j` is all energy over the count.
    """
    duration_s = ledger.duration_s
    idle_w = None if idle is None else idle.power_w
    net_j = None if idle_w is None else ledger.energy_j - idle_w * duration_s
    gap = ledger.gap
    bound = bound_figures([source.bound for source in ledger.sources.values()])
    return {
        "duration_s": duration_s,
        "energy_j": ledger.energy_j,
        "by_class_j": _by_class(ledger.energy),
        "energy_mwh": ledger.energy_j / J_PER_MWH,
        "mean_w": _ratio(ledger.energy_j, duration_s),
        "peak_w": ledger.peak_w,
        "bound": bound | {"ratio": _ratio(bound["energy_j"], abs(ledger.energy_j))},
        "idle_w": idle_w,
        "net_j": net_j,
        "net_spread_j": None if idle is None or idle.spread_w is None else idle.spread_w * duration_s,
        "net_accuracy": None if idle is None else worst([overall(ledger), idle.accuracy]).value,
        "idle": None if idle is None else {"spread_w": idle.spread_w, "seconds": idle.seconds, "source": idle.source,
                                           "accuracy": idle.accuracy.value},
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
            "by_class_j": _by_class(gap.energy),
            "counted_j": gap.counted_j,
            "guessed_j": gap.guessed_j,
            "unknown_s": gap.unknown_s,
        },
        **ledger.events.figures(ledger.start_ns),
    }  # fmt: skip


def overall(ledger: Ledger) -> Accuracy:
    """The class of all the energy together: the worst of what it is made of."""
    return worst([*ledger.energy, *(origin.accuracy for origin in ledger.sources)])


def _phase(ledger: Ledger, path: str, idle_w: float | None) -> dict[str, Any]:
    account = ledger.phases[path]
    covered_s = account.seconds - account.gap_s
    figures: dict[str, Any] = {
        "seconds": account.seconds,
        "gap_s": account.gap_s,
        "energy_j": account.energy_j,
        "by_class_j": _by_class(account.energy),
        "net_j": None if idle_w is None else account.energy_j - idle_w * covered_s,
        "mean_w": _ratio(account.energy_j, covered_s),
    }
    if path != OTHER:
        inner = (other for name, other in ledger.phases.items() if name.startswith(path + "/"))
        whole = sum(inner, start=Account() + account)
        figures |= {
            "inclusive_s": whole.seconds,
            "inclusive_j": whole.energy_j,
            "calls": account.calls,
            "each_j": _ratio(whole.energy_j, account.calls),
        }
    return figures


def sources_figures(ledger: Ledger) -> list[dict[str, Any]]:
    """What each meter contributed, with its class."""
    return [
        {
            "source": origin.source,
            "accuracy": origin.accuracy.value,
            "energy_j": source.energy_j,
            "seconds": source.seconds,
        }
        for origin, source in ledger.sources.items()
    ]


def tell_energy(summary: dict[str, Any], item: str = "") -> str:
    """One line: joules, joules for each `item` if that was counted, their class and source, and what is guessed of them.

    energy: 12.3 J, 0.123 J per frame (measured, hwmon:ina226@1-0040)
    """
    each = summary["counters"].get(item, {}).get("each_j")
    shown = f"{summary['energy_j']:.4g} J" + ("" if each is None else f", {each:.3g} J per {item}")
    parts = summary["by_class_j"]
    of = (
        f", of which {', '.join(f'{energy_j:.3g} J {name}' for name, energy_j in parts.items())}"
        if len(parts) > 1
        else ""
    )
    return f"energy: {shown} ({summary['accuracy']}, {summary['source']}{of})"


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write the summary as JSON: the old file or the new one is there, at any moment. raise: OSError"""
    replace_text(path, json.dumps(summary, indent=2) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, with its folder. raise: OSError"""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda handle: handle.write(text.encode()))


def _by_class(energy: Energy) -> dict[str, float]:
    return {accuracy.value: energy[accuracy] / FJ for accuracy in Accuracy if accuracy in energy}


def _ratio(value: float | None, by: float) -> float | None:
    return value / by if value is not None and by > 0 else None
