"""`alula bench F.alula [--against MODEL.onnx]`: milliseconds per run, compared with onnxruntime if it is installed."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

from alula.arguments import add_file, add_shape, positive, threads_list
from alula.energy import add_meter, asked_log, joules_each, tell_energy, up_to_now
from alula.progress import Progress
from alula.report import Cell, Report, Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to time, with how many threads, how often."""
    add_file(parser)
    parser.add_argument(
        "--against", type=Path, metavar="MODEL.onnx", help="the same network in onnxruntime; runs alternate"
    )
    parser.add_argument(
        "--threads", type=threads_list, metavar="1,2", help="thread counts; default: 1 to the number of cores"
    )
    parser.add_argument("--rounds", type=positive, default=11, help="rounds; the median is reported (11)")
    add_meter(parser, "prints the joules of a run, measured after the time")
    add_shape(parser)


def run(args: argparse.Namespace) -> Report:
    """Time every graph asked for at every thread count."""
    from alula.host.inputs import parse_shapes, random_inputs, resolve_shapes
    from alula.host.ort import OrtModel
    from alula.host.race import peak_gflops, race, solo_ms
    from alula.runtime.artifact import open_artifact
    from alula.runtime.errors import GraphError
    from alula.runtime.model import load

    names = [args.graph] if args.graph else list(open_artifact(args.file).graphs)
    if args.against and len(names) > 1:
        raise GraphError(
            f"{args.file}: expected one graph to time against {args.against}, got {', '.join(names)}; choose with --graph"
        )
    counts = args.threads or list(range(1, (os.cpu_count() or 1) + 1))
    rows: list[dict[str, Any]] = []
    with asked_log(args.meter) as log, Progress("timing") as progress:
        for threads in counts:
            peak = peak_gflops(threads)
            for name in names:
                progress(len(rows), len(counts) * len(names), f"{name}, {threads} threads")
                model = load(args.file, graph=name, threads=threads)
                shapes = resolve_shapes(model.inputs, parse_shapes(args.shape), name)
                values = random_inputs(model.inputs, shapes)
                row = {"graph": name, "threads": threads, "shapes": shapes}
                if args.against:
                    theirs = OrtModel(args.against, threads, purpose="timing against onnxruntime")
                    result = race(partial(model.run, values), partial(theirs, values), args.rounds)
                    row |= {"ms": result.ours_ms, "onnxruntime_ms": result.theirs_ms, "ratio": result.ratio}
                else:
                    row["ms"] = solo_ms(partial(model.run, values), args.rounds)
                row["gflop_s"] = 2 * model.program(shapes).macs / row["ms"] / 1e6
                row["peak_fraction"] = row["gflop_s"] / peak
                if log:
                    row["energy_j"] = joules_each(log, partial(model.run, values))
                    if args.against:
                        row["onnxruntime_energy_j"] = joules_each(log, partial(theirs, values))
                rows.append(row)
        energy = up_to_now(log) if log else None
    joules = (
        [("energy_j", "J"), *([("onnxruntime_energy_j", "onnxruntime J")] if args.against else [])] if energy else []
    )
    columns = [
        "graph",
        "threads",
        "ms",
        *(["onnxruntime ms", "times as fast"] if args.against else []),
        *(name for _, name in joules),
        "GFLOP/s",
        "of the peak",
    ]
    keys = ["graph", "threads", "ms", *(["onnxruntime_ms", "ratio"] if args.against else [])]
    cells: list[tuple[Cell, ...]] = [
        (
            *(_cell(r[k]) for k in keys),
            *(f"{r[k]:.3g}" for k, _ in joules),
            f"{r['gflop_s']:.1f}",
            f"{r['peak_fraction']:.0%}",
        )
        for r in rows
    ]
    ends = [f"J of a run, with all that the meter sees; {tell_energy(energy)}"] if energy else []
    return Report({"rounds": args.rounds, "results": rows, "energy": energy}, [Table(tuple(columns), cells), *ends])


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
