"""Training in place: `trainer = Trainer(graph, optimizer, loss)`, then `trainer.step(x, y)`."""

from __future__ import annotations

from alula.runtime.train.averaging import EMA, SWA
from alula.runtime.train.contribution import Choice, choose_update
from alula.runtime.train.losses import BCE, CTC, L1, MSE, CrossEntropy, Distillation, Loss, loss
from alula.runtime.train.optimizers import SGD, Adam, AdamW, Lion, Optimizer, SignSGD, optimizer
from alula.runtime.train.schedules import Constant, Cosine, OneCycle, Schedule, Steps, WarmUp, schedule
from alula.runtime.train.trainer import Step, Trainer

__all__ = [
    "BCE", "CTC", "EMA", "L1", "MSE", "SGD", "SWA", "Adam", "AdamW", "Choice", "Constant", "Cosine", "CrossEntropy",
    "Distillation", "Lion", "Loss", "OneCycle", "Optimizer", "Schedule", "SignSGD", "Step", "Steps", "Trainer", "WarmUp",
    "choose_update", "loss", "optimizer", "schedule",
]  # fmt: skip
