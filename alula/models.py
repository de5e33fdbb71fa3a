"""What MODEL may be on the command line: an ONNX file, an .alula file, or zoo:NAME."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alula.runtime.errors import GraphError

if TYPE_CHECKING:
    from alula.runtime.artifact.task import Task
    from alula.runtime.graph import Graph
    from alula.runtime.model import Model

ZOO, ONNX = "zoo:", ".onnx"


@dataclass(frozen=True)
class Source:
    """A network. task : what it is for, if it says so; note : what of it was left out, and why; trainable : whether inference has
    something to fold"""

    graph: Graph
    task: Task | None = None
    trainable: bool = True
    note: str = ""


def open_graph(model: str, name: str | None = None, seed: int = 0, classes: int | None = None) -> Source:
    """A model. Only ONNX needs `host/`.

    name    : one of the graphs of an .alula file
    seed    : of the fresh weights of the zoo
    classes : outputs of a network of the zoo, if not its own number
    """
    if name and (model.startswith(ZOO) or model.endswith(ONNX)):
        raise GraphError(f"--graph: expected an .alula file with it, got {model}; leave it out")
    if model.startswith(ZOO):
        from alula.host.onnx.importer import import_onnx
        from alula.host.zoo import build

        return Source(import_onnx(build(model.removeprefix(ZOO), seed, classes)).graph)
    if model.endswith(ONNX):
        from alula.host.onnx.importer import import_onnx
        from alula.host.onnx.task import read_metadata

        imported = import_onnx(model)
        found = read_metadata(imported.metadata, model, imported.graph)
        return Source(imported.graph, found.task, note=found.note)
    from alula.runtime.artifact import open_artifact
    from alula.runtime.artifact.task import task_of

    artifact = open_artifact(model)
    graphs = artifact.graphs
    chosen = name or (next(iter(graphs)) if len(graphs) == 1 else None)
    if chosen not in graphs:
        raise GraphError(f"{model}: expected one of the graphs {', '.join(graphs)}, got {chosen}; choose with --graph")
    return Source(graphs[chosen], task_of(artifact.metadata, chosen, model), artifact.trainable)


def open_model(path: str, name: str | None = None, threads: int | None = None) -> tuple[Model, Task | None, str]:
    """A model that runs, what it is for, and a note on what was left out of that; an ONNX file is packed on the fly, which needs `host/`.

    raise : MissingExtraError that names the extra
    """
    from alula.runtime.model import Model, load

    if not path.endswith(ONNX) and not path.startswith(ZOO):
        model = load(path, name, threads)
        return model, model.task, ""
    from alula.runtime.passes import optimise

    source = open_graph(path, name)
    return Model(optimise(source.graph), threads), source.task, source.note
