"""Training in place: `trainer = Trainer(graph, optimizer, loss)`, then `trainer.step(x, y)`."""

from __future__ import annotations

from alula.runtime.train.losses import CTC, CrossEntropy, Loss
from alula.runtime.train.optimizers import SGD, Optimizer
from alula.runtime.train.trainer import Step, Trainer

__all__ = ["CTC", "SGD", "CrossEntropy", "Loss", "Optimizer", "Step", "Trainer"]
