"""`alula verify F.alula --against MODEL.onnx`: compare every output of the packed network with onnxruntime."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from alula.arguments import add_file, add_layout, add_shape, add_threads, named_path, natural
from alula.imaging import add_imaging, chosen_task
from alula.progress import Progress
from alula.report import Cell, Report, Table

if TYPE_CHECKING:
    from alula.runtime.graph import Array
    from alula.runtime.model import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to compare with what, on which input, how closely."""
    add_file(parser)
    parser.add_argument("--against", action="append", required=True, type=named_path, metavar="[NAME=]MODEL.onnx",
                        help="the ONNX model of a graph; once per graph to check")  # fmt: skip
    parser.add_argument("--layers", action="store_true", help="also compare every layer")
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="a .npz, .npy or image to run on instead of random values"
    )
    parser.add_argument("--seed", type=natural, default=0, help="seed of the random input (0)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="maximum difference, relative to the output's range (1e-4)"
    )
    add_imaging(parser)
    add_layout(parser)
    add_shape(parser)
    add_threads(parser)


def run(args: argparse.Namespace) -> Report:
    """Compare; exit status 1 if an output is beyond the tolerance."""
    from alula.host.inputs import parse_shapes
    from alula.host.verify import verify
    from alula.runtime.model import load

    results = []
    shapes = parse_shapes(args.shape)
    with Progress("verifying") as progress:
        for number, (name, path) in enumerate(args.against):
            progress(number, len(args.against), path.name)
            model = load(args.file, graph=name or args.graph, threads=args.threads)
            inputs = _inputs(args, model) if args.input else None
            results.append(
                verify(
                    model, path, name or args.graph or model.graph.name, inputs=inputs, shapes=shapes,
                    layers=args.layers, seed=args.seed, tolerance=args.tolerance,
                )
            )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    parts: list[Table | str] = []
    for result in results:
        for row in (*result.layers, *result.outputs):
            if row.is_output and row in result.layers:
                continue
            shape = "x".join(map(str, row.shape))
            rows.append((result.graph, row.tensor, shape, f"{row.range:.3g}", f"{row.largest:.2e}", f"{row.ratio:.2e}"))
        if result.absent:
            parts.append(
                f"{result.graph}: {len(result.absent)} tensors have no counterpart of their own (folded or rewritten)"
            )
        if result.saturated:
            parts.append(
                f"{result.graph}: {', '.join(result.saturated)} hardly changes on this input; give a real one with --input"
            )
    passed = all(result.passed for result in results)
    worst = max(result.largest_ratio for result in results)
    verdict = "within" if passed else "BEYOND"
    parts.append(
        f"largest difference of an output over its range: {worst:.2e}, {verdict} the tolerance {args.tolerance:g}"
    )
    table = Table(("graph", "tensor", "shape", "range", "largest difference", "over range"), rows)
    document = {"passed": passed, "largest_ratio": worst if math.isfinite(worst) else None,
                "graphs": [result.document() for result in results]}  # fmt: skip
    return Report(document, [table, *parts], status=0 if passed else 1)


def _inputs(args: argparse.Namespace, model: Model) -> dict[str, Array]:
    """The arrays of a file, or an image as the network sees it."""
    from alula.host.inputs import load_inputs

    task = chosen_task(args, model.task, model.graph, str(args.file), args.layout)
    return load_inputs(args.input, model.inputs, task.preprocessing if task else None)
