"""What to train within a memory budget: measure each layer's contribution, then choose those that contribute most and fit.

Contribution analysis is MCUNetV3's (Lin et al., arXiv 2206.15472): a layer is fine-tuned alone, and its gain is its
contribution. The gain is measured as loss on batches that it was not trained with. The memory of a choice is that of its
plan, not a sum of estimates, so a greedy search replaces the paper's evolutionary search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alula.runtime.errors import GraphError, MemoryBudgetError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph
from alula.runtime.passes.halves import float32_ends
from alula.runtime.passes.trainable import trainable_form
from alula.runtime.train.losses import Loss
from alula.runtime.train.optimizers import Optimizer
from alula.runtime.train.parameters import is_layer, parameters
from alula.runtime.train.trainer import Trainer

SLICES = (1.0, 0.5, 0.25, 0.125)  # of a layer's input channels, as in the paper

Batches = Sequence[Sequence[Array]]
Watch = Callable[[int, int], None]


@frozen
class Choice:
    """What is trained, and why.

    update  : rules for a trainer
    gains   : layer -> how much the loss on the other batches fell when it was trained alone, in the forward pass's order
    chosen  : layer -> part of its input channels that is trained
    memory  : bytes of a step that trains what was chosen
    """

    update: tuple[str, ...]
    gains: dict[str, float]
    chosen: dict[str, float]
    memory: int


def choose_update(
    graph: Graph,
    train: Batches,
    test: Batches,
    max_bytes: int,
    optimizer: Optimizer | None = None,
    loss: Loss | None = None,
    *,
    threads: int | None = None,
    watch: Watch = lambda done, total: None,
    **options: Any,
) -> Choice:
    """The layers to train in a step of at most `max_bytes`.

    train, test : batches as `Trainer.step` takes them: to fine-tune each layer with, and to see what that gained
    optimizer   : with which layers are fine-tuned; the one that will train them
    watch       : called with how many layers were measured, of how many
    options     : of the trainer that will train them, on which its memory depends: clip_norm, accumulate, averaging
    raise       : GraphError if no layer gains; MemoryBudgetError if none that does fits: says the smallest budget
    """
    if not train or not test:
        raise GraphError("update: expected batches to measure contributions with, got none; give more data")
    layers = _layers(graph)

    def bytes_of(update: Sequence[str]) -> int:
        planned = Trainer(graph, optimizer, loss, update, threads=threads, **options)
        return planned.program(train[0][0]).memory.total

    gains, least = dict[str, float](), dict[str, int]()
    for number, (label, names) in enumerate(layers.items()):
        watch(number, len(layers))
        alone = Trainer(graph, optimizer, loss, names, threads=threads, clip_norm=options.get("clip_norm", 0.0))
        before = _loss(alone, test)
        for batch in train:
            alone.step(*batch)
        gains[label] = before - _loss(alone, test)
        least[label] = bytes_of(names)
    watch(len(layers), len(layers))
    useful = [label for label, gain in gains.items() if gain > 0]
    if not useful:
        raise GraphError(
            "update: expected a layer that lowers the loss when it is trained alone, got none; lower the rate"
        )

    def fill(order: Sequence[str]) -> Choice:
        chosen, memory = dict[str, float](), 0
        for label in order:
            for fraction in SLICES:
                total = bytes_of(_rules(layers, {**chosen, label: fraction}))
                if total <= max_bytes:
                    chosen[label], memory = fraction, total
                    break
        return Choice(_rules(layers, chosen), gains, chosen, memory)

    orders = (
        sorted(useful, key=lambda label: -gains[label]),
        sorted(useful, key=lambda label: -gains[label] / least[label]),
    )
    found = [fill(order) for order in dict.fromkeys(map(tuple, orders))]
    best = max(found, key=lambda choice: sum(gains[label] * part for label, part in choice.chosen.items()))
    if not best.chosen:
        smallest = min(bytes_of(_rules(layers, {label: SLICES[-1]})) for label in useful)
        raise MemoryBudgetError(
            f"update: expected a step within {max_bytes:,} bytes, got {smallest:,} at the least; raise the budget to that "
            "or make the batch smaller"
        )
    return best


def _layers(graph: Graph) -> dict[str, list[str]]:
    """The layers with weights, each with its parameters: weight first."""
    form = trainable_form(float32_ends(graph))
    known = parameters(form)
    return {
        node.label: names for node in form.nodes
        if is_layer(node) and (names := [name for name in node.inputs if name in known])
    }  # fmt: skip


def _rules(layers: dict[str, list[str]], chosen: dict[str, float]) -> tuple[str, ...]:
    """Each parameter by its name, with the trained part after it if that is less than 1."""
    return tuple(
        name if part == 1 else f"{name}:{part}" for label, part in chosen.items() for name in layers[label]
    )  # fmt: skip


def _loss(trainer: Trainer, batches: Batches) -> float:
    """Mean loss, without learning anything: steps of rate 0."""
    lr, trainer.lr = trainer.lr, 0.0
    losses = [trainer.step(*batch).loss for batch in batches]
    trainer.lr = lr
    return float(np.mean(losses))
