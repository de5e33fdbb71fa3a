"""Find the first number that is not finite: in a weight, in the forward pass, or in a gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.train.network import with_batch_statistics
from alula.runtime.train.trainer import Trainer


def is_finite(values: Mapping[str, Array]) -> bool:
    """Whether every number is."""
    return all(bool(np.isfinite(value).all()) for value in values.values())


def first_not_finite(trainer: Trainer, arrays: Sequence[Array]) -> str:
    """The first tensor that is not finite when a step is taken with these inputs and targets; "" if all are.

    Changes nothing. Weights are looked at first, then activations from the input on, then gradients from the output back.
    """
    for name, value in trainer.values().items():
        if not np.isfinite(value).all():
            return f"weight {name}"
    for name, array in zip(trainer.graph.inputs, arrays, strict=False):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"input {name}"
    graph = trainer.trained_graph()
    learning = [node.outputs[0] for node in graph.nodes if node.op == "BatchNormalization"]
    seen = with_batch_statistics(graph, [name for name in learning if name in trainer.learning])
    inputs = dict(zip(graph.inputs, arrays, strict=False))
    results = Model(seen, trainer.threads).run_all(inputs)
    for node in seen.nodes:
        if any(name in results and not np.isfinite(results[name]).all() for name in node.outputs[:1]):
            return f"layer {node.label}"
    gradients = trainer.gradients(*arrays)
    for name in reversed(trainer.trained):
        if not np.isfinite(gradients[name]).all():
            return f"gradient of {name}"
    return ""
