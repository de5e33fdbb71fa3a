"""The report's plots, as PNG."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from alula.device.tasks.spotter import FrameTimes

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = {"capture": "#8fb8de", "detect": "#e07a5f", "recognise": "#5b8e7d", "other": "#c9cdd2"}


def draw_power(samples: Path) -> bytes:
    """Power over time, each interval coloured by the phase in which it ended.

    samples : the energy log's CSV; power is the slope of its energy, which counters and shunts both have
    """
    with samples.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["energy_j"]]
    t_s = np.array([float(row["t_s"]) for row in rows])
    energy_j = np.array([float(row["energy_j"]) for row in rows])
    figure, axes = pyplot.subplots(figsize=(9.5, 3.0), layout="constrained")
    if len(rows) > 1:
        power_w = np.diff(energy_j) / np.maximum(np.diff(t_s), 1e-9)
        for phase, colour in COLOURS.items():
            chosen = [k for k in range(len(power_w)) if _phase(rows[k + 1]["phase"]) == phase]
            bars = axes.bar(
                t_s[:-1][chosen], power_w[chosen], np.diff(t_s)[chosen], align="edge", color=colour, linewidth=0
            )
            bars.set_label(phase)
        axes.step(t_s, np.append(power_w, power_w[-1]), where="post", color="#333", linewidth=0.8)
        axes.legend(ncols=4, loc="upper right", fontsize=8, frameon=False)
        axes.set_ylim(0.0, 1.25 * float(power_w.max()) + 1e-3)
        axes.set_xlim(0.0, float(t_s[-1]))
    axes.set_xlabel("time, s")
    axes.set_ylabel("power, W")
    return _png(figure)


def draw_latency(times: Sequence[FrameTimes]) -> bytes:
    """Milliseconds per stage, frame by frame, one on top of the other."""
    figure, axes = pyplot.subplots(figsize=(9.5, 3.0), layout="constrained")
    frames = [entry.frame for entry in times]
    stages = ("capture", "detect", "recognise")
    values = [[getattr(entry, f"{stage}_ms") for entry in times] for stage in stages]
    axes.stackplot(frames, values, labels=stages, colors=[COLOURS[stage] for stage in stages])
    axes.legend(ncols=3, loc="upper right", fontsize=8, frameon=False)
    axes.set_xlabel("frame")
    axes.set_ylabel("ms")
    axes.margins(x=0)
    return _png(figure)


def draw_sizes(classes: Sequence[dict[str, Any]]) -> bytes:
    """Bytes before and after packing, by kind of tensor."""
    rows = [row for row in classes if row["raw_bytes"] >= 2048][::-1]
    figure, axes = pyplot.subplots(figsize=(9.5, 0.6 + 0.36 * max(1, len(rows))), layout="constrained")
    places = np.arange(len(rows))
    axes.barh(places + 0.2, [row["raw_bytes"] / 1e3 for row in rows], 0.4, color=COLOURS["other"], label="before")
    axes.barh(
        places - 0.2, [row["stored_bytes"] / 1e3 for row in rows], 0.4, color=COLOURS["recognise"], label="packed"
    )
    axes.set_yticks(places, [f"{row['graph']}: {row['kind']}" for row in rows], fontsize=8)
    axes.set_xlabel("kB")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return _png(figure)


def _phase(path: str) -> str:
    first = path.split("/")[0]
    return first if first in COLOURS else "other"


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()
