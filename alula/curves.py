"""Curves: of a training run (loss on the left, accuracy on the right, one point for each epoch), of power over time."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from alula.runtime.errors import SourceError, require
from alula.runtime.files import write_whole


def check_format(path: Path) -> None:
    """raise : SourceError if the name asks for a format that matplotlib does not write"""
    kinds = _plotter().matplotlib.backend_bases.FigureCanvasBase.filetypes
    if path.suffix and path.suffix.lstrip(".").lower() not in kinds:
        raise SourceError(f"{path}: expected one of {', '.join(kinds)}, got {path.suffix}; rename it")


def draw(path: Path, records: list[dict[str, Any]]) -> None:
    """Draw the records of a run's epochs into a file; PNG if its name says nothing."""
    figure, axes = _plotter().subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    epochs = [record["epoch"] for record in records]
    for axis, keys, title in (
        (axes[0], ("loss", "test_loss"), "loss"), (axes[1], ("accuracy", "test_accuracy"), "accuracy"),
    ):  # fmt: skip
        for key, name in zip(keys, ("training", "test"), strict=True):
            if all(record[key] is not None for record in records):
                axis.plot(epochs, [record[key] for record in records], marker=".", label=name)
        axis.set(xlabel="epoch", ylabel=title)
        axis.grid(alpha=0.3)
        axis.legend()
    _save(figure, path)


def draw_power(path: Path, samples: Path, title: str) -> None:
    """Draw the readings of an energy log (CSV or JSON lines) into a file: power over time, with the gaps left out."""
    figure, axis = _plotter().subplots(figsize=(9, 3.5), layout="constrained")
    t_s, power_w = _power(samples)
    axis.step(t_s, power_w, where="pre", linewidth=0.8)
    axis.set(xlabel="time, s", ylabel="power, W", title=title)
    axis.set_ylim(bottom=0 if all(not value < 0 for value in power_w) else None)
    axis.grid(alpha=0.3)
    _save(figure, path)


def _power(samples: Path) -> tuple[list[float], list[float]]:
    """Seconds and watts of every reading; NaN where there was none. Of a counter: the slope of its energy."""
    with samples.open(encoding="utf-8", newline="") as file:
        rows = [json.loads(line) for line in file] if samples.suffix == ".jsonl" else list(csv.DictReader(file))
    t_s: list[float] = []
    power_w: list[float] = []
    last_s = last_j = math.nan
    for row in rows:
        at_s, flag = float(row["t_s"]), row["flag"]
        known = flag == "" and row["energy_j"] not in ("", None)
        energy_j = float(row["energy_j"]) if known else math.nan
        t_s.append(at_s)
        power_w.append((energy_j - last_j) / (at_s - last_s) if known and at_s > last_s else math.nan)
        last_s, last_j = at_s, float(row["energy_j"]) if row["energy_j"] not in ("", None) else math.nan
    return t_s, power_w


def _save(figure: Any, path: Path) -> None:
    kind = path.suffix.lstrip(".") or "png"
    write_whole(path, lambda handle: figure.savefig(handle, format=kind, dpi=150))
    _plotter().close(figure)


def _plotter() -> Any:
    require("matplotlib", "demo", "curves").use("Agg")
    return require("matplotlib.pyplot", "demo", "curves")
