"""What MODEL may be on the command line: an ONNX file, an .alula file, or zoo:NAME."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alula.runtime.errors import GraphError

if TYPE_CHECKING:
    from alula.runtime.graph import Graph

ZOO, ONNX = "zoo:", ".onnx"


def open_graph(model: str, name: str | None = None, seed: int = 0) -> Graph:
    """The graph of a model. Only ONNX needs `host/`.

    name : one of the graphs of an .alula file
    seed : of the fresh weights of the zoo
    """
    if name and (model.startswith(ZOO) or model.endswith(ONNX)):
        raise GraphError(f"--graph: expected an .alula file with it, got {model}; leave it out")
    if model.startswith(ZOO):
        from alula.host.onnx.importer import import_onnx
        from alula.host.zoo import build

        return import_onnx(build(model.removeprefix(ZOO), seed)).graph
    if model.endswith(ONNX):
        from alula.host.onnx.importer import import_onnx

        return import_onnx(model).graph
    from alula.runtime.artifact import open_artifact

    graphs = open_artifact(model).graphs
    chosen = name or (next(iter(graphs)) if len(graphs) == 1 else None)
    if chosen not in graphs:
        raise GraphError(f"{model}: expected one of the graphs {', '.join(graphs)}, got {chosen}; choose with --graph")
    return graphs[chosen]
