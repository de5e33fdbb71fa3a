"""The gradient of batch normalisation while it learns."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.autodiff import Tape, rule
from alula.runtime.graph import Node


@rule("BatchNormalizationTraining")
def batch_normalization_training(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Through the statistics of the batch, too; the running ones learn nothing from the loss."""
    x, scale = node.inputs[:2]
    _, _, _, mean, inv_std = node.outputs
    dx, dscale, dbias = tape.node("BatchNormalizationGrad", [gradients[0], x, scale, mean, inv_std], outputs=3)
    return dx, dscale, dbias, "", ""
