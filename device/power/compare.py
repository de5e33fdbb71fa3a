"""Compare two runs, or two groups of runs, of the energy log: the difference, and how sure it is.

With two runs or more in each group, the uncertainty is that of Welch's t interval: what their differences among each other say.
With one run there is none: only the bounds of the two totals, which know nothing of how much runs differ.
Source: B. L. Welch, "The generalization of Student's problem", Biometrika 34, 1947.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alula.device.power.limits import MOST
from alula.device.power.meter import Accuracy, worst
from alula.runtime.errors import MeterError
from alula.runtime.files import check_file

CONFIDENCE = 0.95
FIGURES = (
    ("energy", "J", "energy_j"),
    ("duration", "s", "duration_s"),
    ("mean power", "W", "mean_w"),
    ("net of idle", "J", "net_j"),
)
FORMATS = ("alula-energy-1", "alula-energy-2")


@dataclass(frozen=True)
class Run:
    """A summary of the energy log."""

    path: Path
    summary: dict[str, Any]

    @property
    def source(self) -> str:
        return str(self.summary["source"])

    @property
    def accuracy(self) -> Accuracy:
        return Accuracy(self.summary["accuracy"])

    def bound_j(self) -> float:
        """0 for a log that states none."""
        return float(self.summary.get("bound", {}).get("energy_j", 0.0))


@dataclass(frozen=True)
class Difference:
    """Of one figure, between two groups. margin : half of the interval of CONFIDENCE, or of the bounds; None if nothing is known"""

    name: str
    unit: str
    first: float
    second: float
    margin: float | None
    repeated: bool

    @property
    def value(self) -> float:
        return self.second - self.first

    @property
    def ratio(self) -> float | None:
        return self.value / self.first if self.first else None

    @property
    def is_shown(self) -> bool:
        """Whether the runs show that the groups differ."""
        return self.margin is not None and abs(self.value) > self.margin


def read_run(path: Path) -> Run:
    """Read a summary. raise: MeterError for a file that is none, SourceError for a pipe or a device, OSError"""
    check_file(path)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MeterError(
            f"{path}: expected a summary of the energy log, got {type(error).__name__}; give its .json"
        ) from error
    if not isinstance(summary, dict) or summary.get("format") not in FORMATS:
        got = summary.get("format") if isinstance(summary, dict) else type(summary).__name__
        raise MeterError(
            f"{path}: expected the format {FORMATS[-1]}, got {got!r}; give the .json of alula power log --out"
        )
    run = Run(path, summary)
    try:
        numbers = [summary["energy_j"], summary["duration_s"], run.bound_j()]
        optional = [summary["mean_w"], summary["net_j"], *(each["each_j"] for each in summary["counters"].values())]
        numbers += [value for value in optional if value is not None]
        known = bool(run.source and run.accuracy) and summary["duration_s"] >= 0 and run.bound_j() >= 0
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MeterError(f"{path}: expected figures, source and class, got {error}; was the file edited?") from error
    if not (known and all(map(_is_figure, numbers))):
        raise MeterError(f"{path}: expected figures that can be, got others; was the file edited?")
    return run


def _is_figure(value: object) -> bool:
    """Whether it is a number, and none that makes sums of figures infinite."""
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) <= MOST


def mixed(first: Sequence[Run], second: Sequence[Run]) -> str:
    """Why the runs should not be compared, or ''."""
    sources = sorted({run.source for run in (*first, *second)})
    if len(sources) > 1:
        return f"expected one meter, got {' and '.join(sources[:3])}"
    classes = sorted({run.accuracy.value for run in (*first, *second)})
    return f"expected one class, got {' and '.join(classes)}" if len(classes) > 1 else ""


def compare(first: Sequence[Run], second: Sequence[Run]) -> list[Difference]:
    """Energy, time, power, net energy and energy of each item, where all runs have them."""
    runs = [*first, *second]
    figures = [(name, unit, [run.summary.get(key) for run in runs]) for name, unit, key in FIGURES]
    for item in sorted(set.intersection(*(set(run.summary["counters"]) for run in runs))):
        figures.append((f"energy per {item}", "J", [run.summary["counters"][item].get("each_j") for run in runs]))
    differences = []
    for name, unit, values in figures:
        known = [value for value in values if value is not None]
        if len(known) == len(runs):
            one_each = name == "energy" and len(runs) == 2
            bound_j = math.hypot(*(run.bound_j() for run in runs)) if one_each else None
            differences.append(_difference(name, unit, known[: len(first)], known[len(first) :], bound_j))
    return differences


def overall(runs: Sequence[Run]) -> Accuracy:
    """The worst class of the runs."""
    return worst(run.accuracy for run in runs)


def _difference(name: str, unit: str, a: list[float], b: list[float], bound_j: float | None) -> Difference:
    repeated = len(a) > 1 and len(b) > 1
    margin = welch_margin(a, b) if repeated else bound_j
    return Difference(name, unit, statistics.fmean(a), statistics.fmean(b), margin, repeated)


def welch_margin(a: list[float], b: list[float]) -> float:
    """Half of the interval of CONFIDENCE of the difference of two means."""
    parts = [statistics.variance(values) / len(values) for values in (a, b)]
    total = sum(parts)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (a, b), strict=True))
    return t_quantile((1 + CONFIDENCE) / 2, freedom) * math.sqrt(total)


def t_quantile(share: float, freedom: float) -> float:
    """The value that Student's t stays below with this probability, above one half; by bisection of its integral."""
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < share:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def _t_below(value: float, freedom: float, parts: int = 64) -> float:
    """Simpson's rule over t = sqrt(freedom) tan(angle), where the density is a power of the cosine."""
    end = math.atan(value / math.sqrt(freedom))
    step = end / parts
    weights = (1.0 if k in (0, parts) else 4.0 if k % 2 else 2.0 for k in range(parts + 1))
    terms = (weight * math.pow(math.cos(k * step), freedom - 1) for k, weight in enumerate(weights))
    integral = math.fsum(terms) * step / 3
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.pi) / 2
    return 0.5 + math.exp(log_scale) * integral
