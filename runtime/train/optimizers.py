"""Optimisers: which update node a parameter gets, and what it remembers between steps. Semantics are torch's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from alula.runtime.autodiff import Tape
from alula.runtime.errors import GraphError
from alula.runtime.graph import Array


class Optimizer(Protocol):
    """What builds the updates of a training program."""

    name: ClassVar[str]

    @property
    def lr(self) -> float: ...

    @property
    def slots(self) -> tuple[str, ...]:
        """What is remembered of each parameter: one tensor like it for each name, zero at first."""
        ...

    def update(
        self, tape: Tape, parameter: str, gradient: str, slots: tuple[str, ...], scalars: Scalars
    ) -> tuple[str, ...]:
        """Append the update node; the names of the new parameter and the new slots."""
        ...


@dataclass(frozen=True)
class Scalars:
    """Names of the float32 scalars () that change from step to step.

    lr    : learning rate
    step  : number of this update, from 1
    scale : factor of all gradients (clipping, accumulation)
    """

    lr: str
    step: str
    scale: str

    def values(self, lr: float, step: int, scale: float) -> dict[str, Array]:
        """The arrays for one step."""
        return {
            name: np.array(value, np.float32)
            for name, value in ((self.lr, lr), (self.step, step), (self.scale, scale))
        }  # fmt: skip


SCALARS = Scalars("lr|", "step|", "scale|")


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum (Polyak or Nesterov) and L2 weight decay; torch.optim.SGD's formula."""

    name: ClassVar[str] = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.lr < 0 or not 0 <= self.momentum < 1 or (self.nesterov and not self.momentum):
            raise GraphError(
                f"SGD: expected lr >= 0, 0 <= momentum < 1 and momentum for Nesterov, got {self}; correct them"
            )

    @property
    def slots(self) -> tuple[str, ...]:
        """The momentum buffer, if there is momentum."""
        return ("momentum",) if self.momentum else ()

    def update(
        self, tape: Tape, parameter: str, gradient: str, slots: tuple[str, ...], scalars: Scalars
    ) -> tuple[str, ...]:
        """One SGDUpdate node."""
        made = tape.node(
            "SGDUpdate", [parameter, gradient, slots[0] if slots else "", scalars.lr, scalars.scale],
            outputs=1 + len(slots), name=f"{parameter}|update", momentum=self.momentum, weight_decay=self.weight_decay,
            nesterov=int(self.nesterov),
        )  # fmt: skip
        return made if slots else (made,)
