"""How a network is trained: optimiser, schedule, loss and all else that makes a trainer, chosen by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from alula.runtime.data import Loader
from alula.runtime.errors import DataError, GraphError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Graph
from alula.runtime.train.averaging import EMA, SWA, Averaging
from alula.runtime.train.contribution import Choice, choose_update
from alula.runtime.train.losses import CrossEntropy
from alula.runtime.train.optimizers import Optimizer, optimizer
from alula.runtime.train.schedules import schedule
from alula.runtime.train.trainer import Trainer

MEASURED_BATCHES, OTHER_BATCHES = 12, 4  # that every layer is trained alone with, and seen with


@frozen
class Hyperparameters:
    """What a run does with its batches; None leaves a choice to the optimiser.

    optimizer, schedule : by name
    warm_up    : updates in which the rate rises
    accumulate : batches for one update
    average    : "ema", "swa" or None
    max_bytes  : of a step's memory
    """

    epochs: int
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float | None = None
    nesterov: bool | None = None
    weight_decay: float | None = None
    decay: str | None = None
    schedule: str = "cosine"
    warm_up: int = 0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    accumulate: int = 1
    average: str | None = None
    max_bytes: int | None = None
    threads: int | None = None

    def trainer(self, graph: Graph, train: Loader, update: str | Sequence[str]) -> Trainer:
        """What trains the network.

        update : rules for what is trained
        """
        updates = self.epochs * train.steps // self.accumulate
        if not updates:
            raise GraphError(
                f"--accumulate: expected at most the {self.epochs * train.steps} batches of the run, got {self.accumulate}; "
                "nothing would be learned"
            )
        return Trainer(
            graph, self.make_optimizer(), self.loss(), update, threads=self.threads, max_bytes=self.max_bytes,
            schedule=schedule(self.schedule, updates, self.warm_up), clip_norm=self.clip_norm, accumulate=self.accumulate,
            averaging=self.averaging(updates),
        )  # fmt: skip

    def choose(self, graph: Graph, train: Loader, budget: int, watch: Callable[[int, int], None]) -> Choice:
        """The layers that contribute most, within a memory of a step.

        budget : bytes
        watch  : called with what is done, of how much
        """
        wanted = MEASURED_BATCHES + OTHER_BATCHES
        if train.steps < wanted:
            raise DataError(
                f"{train.data.name}: expected {wanted} batches to choose layers by, got {train.steps}; make them smaller"
            )
        with contextlib.closing(train.epoch(0)) as epoch:  # type: ignore[type-var]
            batches = [(batch.x.copy(), batch.y.copy()) for batch, _ in zip(epoch, range(wanted), strict=False)]
        return choose_update(
            graph, batches[:MEASURED_BATCHES], batches[MEASURED_BATCHES:], budget, self.make_optimizer(), self.loss(),
            threads=self.threads, watch=watch, clip_norm=self.clip_norm, accumulate=self.accumulate,
            averaging=self.averaging(1),
        )  # fmt: skip

    def make_optimizer(self) -> Optimizer:
        """The optimiser; SGD has a momentum of 0.9 unless another is asked for."""
        momentum = 0.9 if self.momentum is None and self.optimizer == "sgd" else self.momentum
        return optimizer(
            self.optimizer, lr=self.lr, momentum=momentum, nesterov=self.nesterov, weight_decay=self.weight_decay, decay=self.decay
        )  # fmt: skip

    def loss(self) -> CrossEntropy:
        """The loss of classes."""
        return CrossEntropy(self.label_smoothing)

    def averaging(self, updates: int) -> Averaging | None:
        """The average of the weights, over a run of `updates` updates."""
        return {None: None, "ema": EMA(), "swa": SWA(start=3 * updates // 4)}[self.average]
