"""BatchNormalization in inference as a factor and a summand per channel."""

from __future__ import annotations

import numpy as np

from alula.runtime.graph import Graph
from alula.runtime.passes.rewrite import Rewrite, make_node


def open_batch_norm(graph: Graph) -> Graph:
    """BatchNormalization with constant statistics -> Mul, Add; `fold_affine` puts those into the weights nearby."""
    rewrite = Rewrite(graph)
    for node in rewrite.nodes("BatchNormalization"):
        values = [value for name in node.inputs[1:5] if (value := rewrite.value(name)) is not None]
        trained = getattr(node.attrs, "training_mode", 0)
        if trained or node.fused or len(values) < 4 or any(node.outputs[1:]):
            continue
        first = values[0]
        if first.ndim != 1 or any(value.shape != first.shape for value in values):
            continue  # `infer` refuses them
        gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in values)
        factor = gamma / np.sqrt(variance + node.attrs.epsilon)
        output, scaled = node.outputs[0], rewrite.fresh(f"{node.outputs[0]}.scaled")
        scale = rewrite.constant(f"{output}.factor", factor.astype(first.dtype))
        shift = rewrite.constant(f"{output}.summand", (beta - mean * factor).astype(first.dtype))
        times = make_node("Mul", [node.inputs[0], scale], scaled)
        rewrite.exchange([node], [times, make_node("Add", [scaled, shift], output, node.name)])
    return rewrite.graph()
