"""Averages of the weights over a run: exponential (EMA) or plain (SWA). They generalise better than the last weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, Graph
from alula.runtime.train.network import running_statistics, with_batch_statistics


class Averaging(Protocol):
    """What an average must have."""

    def rate(self, step: int) -> float:
        """How far the average moves towards the weights after update `step`, counted from 0: 0 not at all, 1 all the way."""
        ...


@dataclass(frozen=True)
class EMA:
    """average = decay * average + (1 - decay) * weights, begun with the first weights.

    warm_up : a shorter memory at first: decay is at most (1 + step) / (10 + step), as in Tan and Le's EfficientNet code
    """

    decay: float = 0.999
    warm_up: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise GraphError(f"ema: expected 0 <= decay < 1, got {self.decay:g}; 0.999 is common")

    def rate(self, step: int) -> float:
        """See `Averaging.rate`."""
        if step == 0:
            return 1.0
        return 1 - (min(self.decay, (1 + step) / (10 + step)) if self.warm_up else self.decay)


@dataclass(frozen=True)
class SWA:
    """The mean of the weights after updates start - 1, start - 1 + period, ... Izmailov et al., arXiv 1803.05407.

    start  : updates before the first one that counts
    period : updates between those that count
    """

    start: int = 0
    period: int = 1

    def __post_init__(self) -> None:
        if self.start < 0 or self.period < 1:
            raise GraphError(
                f"swa: expected start >= 0 and period >= 1, got {self.start} and {self.period}; correct them"
            )

    def rate(self, step: int) -> float:
        """See `Averaging.rate`."""
        since = step - max(self.start - 1, 0)
        return 1 / (since // self.period + 1) if since >= 0 and since % self.period == 0 else 0.0


def batch_norm_statistics(
    graph: Graph, batches: Iterable[Sequence[Array]], threads: int | None = None
) -> dict[str, Array]:
    """Means and variances of every batch normalisation over some batches, all with the same weight; SWA needs them recomputed.

    graph   : in trainable form
    batches : inputs of the network, in order
    return  : by the names of the running means and variances
    raise   : GraphError if there are no batches
    """
    from alula.runtime.model import Model

    names = [node.outputs[0] for node in graph.nodes if node.op == "BatchNormalization"]
    measured = with_batch_statistics(graph, names, momentum=0.0)
    pairs = running_statistics(measured)
    if not pairs:
        return {}
    model = Model(replace(measured, outputs=tuple(pairs)), threads)
    sums = {old: np.zeros(graph.constants.spec(old).dims) for old in pairs.values()}
    count = 0
    for batch in batches:
        results = model.run(dict(zip(graph.inputs, batch, strict=True)))
        for new, old in pairs.items():
            sums[old] += results[new]
        count += 1
    if not count:
        raise GraphError("batch statistics: expected one batch or more, got none; pass some of the training data")
    return {name: (total / count).astype(np.float32) for name, total in sums.items()}
