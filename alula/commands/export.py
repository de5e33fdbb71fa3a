"""`alula export F.alula -o MODEL.onnx`: write a packed (and trained) network as ONNX again."""

from __future__ import annotations

import argparse
from pathlib import Path

from alula.arguments import add_file
from alula.outputs import check_outputs, check_suffix
from alula.report import Report, size
from alula.runtime.files import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which graph, and which file to write."""
    add_file(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.onnx")


def run(args: argparse.Namespace) -> Report:
    """Write the ONNX file."""
    from alula.host.onnx.exporter import export_onnx
    from alula.runtime.artifact import open_artifact
    from alula.runtime.artifact.task import ONNX_KEY, task_of
    from alula.runtime.errors import GraphError

    check_outputs([args.output], [args.file])
    check_suffix(args.output, is_onnx=True)
    artifact = open_artifact(args.file)
    graphs = artifact.graphs
    name = args.graph or (next(iter(graphs)) if len(graphs) == 1 else None)
    if name not in graphs:
        raise GraphError(
            f"{args.file}: expected one of the graphs {', '.join(graphs)}, got {name}; choose with --graph"
        )
    task = task_of(artifact.metadata, name, str(args.file))
    model = export_onnx(graphs[name], metadata={ONNX_KEY: task.text()} if task else None)
    content = model.SerializeToString()
    write_whole(args.output, lambda handle: handle.write(content))
    document = {"path": str(args.output), "graph": name, "size_bytes": len(content)}
    return Report(document, [f"{args.output}: graph {name}, {size(len(content))}"])
