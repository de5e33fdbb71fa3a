"""`alula pack MODEL.onnx [--graph NAME=FILE ...] -o F.alula`: ONNX models into one packed file."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import alula
from alula.arguments import add_layout, named_path
from alula.imaging import add_imaging, chosen_task, given
from alula.outputs import check_outputs, check_suffix
from alula.progress import Progress
from alula.report import Cell, Report, Table, size, tell_task
from alula.runtime.files import check_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models under which names, and how small."""
    parser.add_argument(
        "model", type=Path, nargs="?", metavar="MODEL.onnx", help="a model; its graph gets the file's name"
    )
    parser.add_argument("--graph", action="append", default=[], type=named_path, metavar="NAME=MODEL.onnx",
                        help="a model and a name for its graph; may be repeated")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.alula")
    parser.add_argument("--bits", action="append", default=[], metavar="[NAME=]N",
                        help="bits per weight: 1 to 8, or 16; for one graph or for all. Default: weights stay exact")  # fmt: skip
    parser.add_argument(
        "--metadata", type=Path, metavar="FILE.json", help="a JSON object to store with the graphs: provenance, say"
    )
    add_imaging(parser)
    add_layout(parser)


def run(args: argparse.Namespace) -> Report:
    """Import, choose encodings, write."""
    from alula.host.onnx.importer import import_onnx
    from alula.host.onnx.task import read_metadata
    from alula.host.pack import pack
    from alula.runtime.artifact.task import with_tasks
    from alula.runtime.errors import GraphError

    models = [(name or path.stem, path) for name, path in [*([("", args.model)] if args.model else []), *args.graph]]
    names = [name for name, _ in models]
    if not models or len(set(names)) < len(names):
        raise GraphError(
            f"pack: expected models under different names, got {', '.join(names) or 'none'}; name them with --graph NAME=FILE"
        )
    if given(args) and len(models) > 1:
        raise GraphError(
            f"{given(args)[0]}: expected one model, which it is for, got {', '.join(names)}; pack them one by one"
        )
    check_suffix(args.output, is_onnx=False)
    check_outputs([args.output], [*(path for _, path in models), args.metadata, args.labels])
    with Progress("packing") as progress:
        imported = {}
        for number, (name, path) in enumerate(models):
            progress(number, len(models), path.name)
            imported[name] = import_onnx(path, name)
        found = {name: read_metadata(imported[name].metadata, path.name, imported[name].graph) for name, path in models}
        tasks = {
            name: chosen_task(args, found[name].task, imported[name].graph, path.name, args.layout)
            for name, path in models
        }
        metadata = with_tasks(_metadata(args.metadata), tasks) | {
            "packed_by": f"alula {alula.__version__}",
            "sources": {name: {"file": path.name, **_others(imported[name].metadata)} for name, path in models},
        }
        _check_tasks(metadata, names, args.metadata)
        result = pack(imported, args.output, _bits(args.bits, names), metadata, progress)
    tensors = [asdict(row) for row in result.tensors]
    worst = max((row.error_ratio for row in result.tensors), default=0.0)
    source_bytes = sum(path.stat().st_size for _, path in models)
    document = {"path": result.path, "size_bytes": result.size_bytes, "source_bytes": source_bytes,
                "raw_bytes": result.raw_bytes, "largest_error_ratio": worst, "tensors": tensors,
                "notes": {name: imported[name].notes for name in names},
                "tasks": {name: task.document() for name, task in tasks.items() if task}}  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for name, path in models:
        mine = [row for row in result.tensors if row.graph == name]
        weights, stored = sum(row.raw_bytes for row in mine), sum(row.stored_bytes for row in mine)
        ratio = f"{weights / stored:.2f}" if stored else ""
        rows.append((name, path.name, size(path.stat().st_size), len(mine), size(weights), size(stored), ratio))
    columns = ("graph", "from", "ONNX", "tensors", "weights", "packed", "times smaller")
    line = f"{result.path}: {size(result.size_bytes)}, from {size(source_bytes)}; largest error of a tensor {worst:.2%}"
    notes = [f"{name}: {note}" for name in names for note in imported[name].notes]
    notes += [f"{name}: {found[name].note}" for name in names if found[name].note and not tasks[name]]
    told = [f"{name}: {tell_task(task)}" for name, task in tasks.items() if task]
    return Report(document, [Table(columns, rows), *notes, *told, line])


def _check_tasks(metadata: dict[str, Any], names: list[str], path: Path | None) -> None:
    """Refuse tasks that nothing could read, and those of graphs that are not there.

    raise : ArtifactError, GraphError
    """
    from alula.runtime.artifact.task import KEY, task_of
    from alula.runtime.errors import GraphError

    for name in names:
        task_of(metadata, name, str(path))
    tasks = metadata.get(KEY)
    if unknown := [name for name in tasks if name not in names] if isinstance(tasks, dict) else []:
        raise GraphError(f"{path}: expected tasks of {', '.join(names)}, got one of {unknown[0]!r}; correct its name")


def _others(metadata: dict[str, str]) -> dict[str, str]:
    """What is not the task, which the file says once."""
    from alula.runtime.artifact.task import ONNX_KEY

    return {key: value for key, value in metadata.items() if key != ONNX_KEY}


def _bits(texts: list[str], names: list[str]) -> int | dict[str, int | None] | None:
    """Bits for all graphs, or by graph; what is wrong with a number is pack's to say, what is none is ours."""
    from alula.runtime.errors import GraphError

    chosen: dict[str, int | None] = dict.fromkeys(names)
    for text in texts:
        name, _, number = text.rpartition("=")
        if not number.isdigit() or (name and name not in names):
            raise GraphError(f"--bits {text}: expected N or NAME=N with a graph of {', '.join(names)}, got neither")
        chosen.update({name: int(number)} if name else dict.fromkeys(names, int(number)))
    return chosen


def _metadata(path: Path | None) -> dict[str, Any]:
    from alula.runtime.errors import SourceError

    if path is None:
        return {}
    check_file(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: expected JSON, got {error}; correct the file") from None
    if not isinstance(value, dict):
        raise SourceError(f"{path}: expected a JSON object, got {type(value).__name__}; put it in braces")
    return value
