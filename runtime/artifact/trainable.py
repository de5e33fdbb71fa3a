"""Files of networks that go on learning: every weight exact, batch normalisations kept. `Artifact.trainable` says which are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from alula.runtime.artifact.content import check_finite, trimmed, weight_axes
from alula.runtime.artifact.format import TRAINABLE
from alula.runtime.artifact.reader import Artifact
from alula.runtime.artifact.writer import write_artifact
from alula.runtime.graph import Graph
from alula.runtime.passes.trainable import trainable_form


def write_trainable(
    path: str | os.PathLike[str], graphs: Mapping[str, Graph], metadata: Mapping[str, Any] | None = None
) -> Artifact:
    """Write networks so that they can be trained further; what inference folds is folded when the file is loaded.

    return : the file, opened
    raise  : ArtifactError for weights that are not finite, OSError if the disk does not take it
    """
    ready = {name: trimmed(replace(trainable_form(graph), name=name)) for name, graph in graphs.items()}
    for name, graph in ready.items():
        weights = weight_axes(graph)
        for constant in sorted(graph.constants):
            check_finite(graph.constants[constant], constant in weights, f"graph {name}: tensor {constant}")
    return write_artifact(path, ready, {**(metadata or {}), TRAINABLE: True})
