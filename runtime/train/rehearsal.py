"""Some steps on a trainer that is thrown away: what they cost, and so what a run would."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from alula.runtime.data import Loader
from alula.runtime.frozen import frozen
from alula.runtime.planning.program import Memory
from alula.runtime.train.energy import EnergyLog
from alula.runtime.train.trainer import Trainer

STEPS = 5


@frozen
class Cost:
    """What a step costs: the mean of STEPS.

    step_j     : None if the meter gave nothing
    energy     : summary of the energy log
    parameters : elements that are trained
    """

    parameters: int
    macs: int
    memory: Memory
    step_s: float
    step_j: float | None
    energy: dict[str, Any]


def rehearse(trainer: Trainer, train: Loader, energy: Callable[[], AbstractContextManager[EnergyLog]]) -> Cost:
    """Take some steps. The first one, which plans, is not measured.

    energy : opens a log for the others
    """
    batches = train.epoch(0)
    batch = next(batches)
    program = trainer.program(batch.x)
    memory = program.memory
    trainer.step(batch.x, batch.y)
    with energy() as log:
        start = time.perf_counter()
        for _ in range(STEPS):
            trainer.step(batch.x, batch.y)
        step_s = (time.perf_counter() - start) / STEPS
    batches.close()  # type: ignore[attr-defined]
    summary = log.summary()
    step_j = None if summary["mean_w"] is None else summary["mean_w"] * step_s
    values = trainer.values()
    parameters = sum(values[name].size for name in trainer.trained)
    return Cost(parameters, program.macs, memory, step_s, step_j, summary)


def step_memory(trainer: Trainer, train: Loader) -> Memory:
    """What a step of these batches will take, which is known before the first one."""
    return trainer.program(np.empty((train.batch, *train.sample_shape), np.float32)).memory
