"""The gradient of batch normalisation in training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alula.runtime.graph import Node
from alula.runtime.planning.autodiff import Tape, rule


@rule("BatchNormalizationTraining")
def batch_normalization_training(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Through the statistics of the batch, too; the running ones learn nothing from the loss.

    The slope of a clamp after it is recomputed from its input, so its result need not be kept.
    """
    x, scale, bias = node.inputs[:3]
    _, _, _, mean, inv_std = node.outputs
    grad_y, low, high = _clamp_behind(tape, node.outputs[0], gradients[0])
    inputs = [grad_y, x, scale, mean, inv_std, *([bias] if grad_y != gradients[0] else [])]
    grad_x, grad_scale, grad_bias = tape.node("BatchNormalizationGrad", inputs, outputs=3, low=low, high=high)
    return grad_x, grad_scale, grad_bias, "", ""


def _clamp_behind(tape: Tape, y: str, grad_y: str) -> tuple[str, float, float]:
    """The gradient after a clamp of `y`, and its bounds, if only its slope made `grad_y`; else `grad_y`, and no bounds."""
    low, high = -math.inf, math.inf
    maker = next((node for node in reversed(tape.nodes) if grad_y in node.outputs), None)
    if maker is None or maker.op not in ("ReluGrad", "ClipGrad"):
        return grad_y, low, high
    clamp = next((node for node in tape.nodes if maker.inputs[1] in node.outputs), None)
    if clamp is None or clamp.op not in ("Relu", "Clip") or clamp.inputs[0] != y:
        return grad_y, low, high
    if clamp.op == "Relu":
        low = 0.0
    else:
        bounds = [tape.value(name) if name else None for name in (*clamp.inputs[1:], "", "")[:2]]
        low, high = (
            limit if bound is None else float(bound.reshape(()))
            for bound, limit in zip(bounds, (low, high), strict=True)
        )
    tape.nodes.remove(maker)
    return maker.inputs[0], low, high
