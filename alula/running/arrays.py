"""`alula run` for any network: its outputs for a .npy, a .npz or an image, as they are."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from alula.imaging import given
from alula.report import Cell, Report, Table
from alula.running import own_options
from alula.running.looking import OF_SOURCES, given_of, refuse_unused
from alula.runtime.files import write_whole

if TYPE_CHECKING:
    from alula.runtime.artifact.task import Task
    from alula.runtime.model import Model


def run(args: argparse.Namespace, model: Model, task: Task | None) -> Report:
    """The outputs of a network as they are.

    task : with the preprocessing of an image; None for arrays
    """
    import numpy as np

    from alula.host.inputs import load_inputs

    image = task is not None
    unused = given_of(args, (*OF_SOURCES, *own_options()))
    unused += [] if image else [*given(args), *given_of(args, ("layout",))]
    refuse_unused(args, unused, "its outputs are given as arrays; leave it out")
    how = task.preprocessing if task else None
    inputs = load_inputs(Path(args.input), model.inputs, how, args.alpha)
    model.run(inputs)  # plans the program
    start = time.perf_counter()
    outputs = model.run(inputs)
    latency_ms = 1e3 * (time.perf_counter() - start)
    if args.out:
        write_whole(args.out, lambda handle: np.savez(handle, **outputs))  # type: ignore[arg-type]
    rows: list[tuple[Cell, ...]] = []
    for name, array in outputs.items():
        ends = (f"{array.min():.4g}", f"{array.max():.4g}") if array.size else ("", "")
        best = int(array.argmax()) if array.size and array.ndim in (1, 2) and array.shape[0] == 1 else None
        rows.append((name, "x".join(map(str, array.shape)), array.dtype.name, *ends, best))
    table = Table(("output", "shape", "dtype", "least", "greatest", "at"), rows)
    line = f"{latency_ms:.2f} ms" + (f"; written to {args.out}" if args.out else "")
    shown = {name: array.tolist() for name, array in outputs.items()} if args.json else {}  # slow where they are large
    document = {"latency_ms": latency_ms, "outputs": shown}
    return Report(document, [table, line])
