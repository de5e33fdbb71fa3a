"""Curves of a training run: loss on the left, accuracy on the right, one point for each epoch."""

from __future__ import annotations

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
    kind = path.suffix.lstrip(".") or "png"
    write_whole(path, lambda handle: figure.savefig(handle, format=kind, dpi=150))


def _plotter() -> Any:
    require("matplotlib", "demo", "curves").use("Agg")
    return require("matplotlib.pyplot", "demo", "curves")
