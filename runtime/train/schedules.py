"""Schedules: the learning rate of each update, a function of the update's number, so a resumed run continues exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from alula.runtime.errors import GraphError


class Schedule(Protocol):
    """What a schedule must have."""

    def lr(self, step: int, base: float) -> float:
        """The learning rate of update `step`, counted from 0, where the optimiser's is `base`."""
        ...


def _positive(where: str, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise GraphError(f"{where}: expected {name} >= 1, got {value}; correct it")


def _share(where: str, **numbers: float) -> None:
    for name, value in numbers.items():
        if not 0 <= value <= 1:
            raise GraphError(f"{where}: expected {name} from 0 to 1, got {value}; it is a part of the rate; correct it")


@dataclass(frozen=True)
class Constant:
    """The same rate throughout."""

    def lr(self, step: int, base: float) -> float:
        """See `Schedule.lr`."""
        return base


@dataclass(frozen=True)
class Steps:
    """base * factor ** (how many milestones were passed); torch's MultiStepLR, counted in updates."""

    milestones: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise GraphError(f"step: expected a factor above 0, got {self.factor}; correct it")

    def lr(self, step: int, base: float) -> float:
        """See `Schedule.lr`."""
        return base * self.factor ** sum(step >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class Cosine:
    """From base to `floor` times base along half a cosine; torch's CosineAnnealingLR. Loshchilov and Hutter (2017), eq. 5."""

    steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        _positive("cosine", steps=self.steps)
        _share("cosine", floor=self.floor)

    def lr(self, step: int, base: float) -> float:
        """See `Schedule.lr`."""
        share = (1 + math.cos(math.pi * min(step / self.steps, 1.0))) / 2
        return base * (self.floor + (1 - self.floor) * share)


@dataclass(frozen=True)
class WarmUp:
    """The rates of another schedule, reached in a straight line from `start` times base over the first `steps` updates.

    source : Goyal et al., arXiv 1706.02677, section 2.2
    """

    then: Schedule
    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        _positive("warm-up", steps=self.steps)
        _share("warm-up", start=self.start)

    def lr(self, step: int, base: float) -> float:
        """See `Schedule.lr`. The first update already moves, the last one of the warm-up has the full rate."""
        if step >= self.steps:
            return self.then.lr(step - self.steps, base)
        return base * (self.start + (1 - self.start) * (step + 1) / self.steps)


@dataclass(frozen=True)
class OneCycle:
    """Up to base, then down to almost nothing, both along half a cosine; torch's OneCycleLR. Smith, arXiv 1708.07120.

    rise        : part of the updates in which the rate rises
    first, last : base / first is the rate of the first update, base / first / last that of the last
    """

    steps: int
    rise: float = 0.3
    first: float = 25.0
    last: float = 1e4

    def __post_init__(self) -> None:
        _positive("one-cycle", steps=self.steps)
        if not 0 < self.rise < 1 or self.first <= 0 or self.last <= 0:
            raise GraphError(
                f"one-cycle: expected rise between 0 and 1, first and last above 0, got {self}; correct them"
            )

    def lr(self, step: int, base: float) -> float:
        """See `Schedule.lr`."""
        low, top = base / self.first, self.rise * self.steps - 1
        if step <= top:
            return _half_cosine(low, base, step / top if top else 1.0)
        return _half_cosine(base, low / self.last, min((step - top) / (self.steps - 1 - top), 1.0))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


SCHEDULES = ("constant", "step", "cosine", "one-cycle")


def schedule(
    name: str, steps: int, warm_up: int = 0, milestones: tuple[int, ...] = (), factor: float = 0.1
) -> Schedule:
    """A schedule by name for a run of `steps` updates, of which the first `warm_up` rise in a straight line.

    milestones : of step, in updates; none: half and three quarters of the run
    raise      : GraphError
    """
    if name not in SCHEDULES:
        raise GraphError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {name!r}; choose one")
    if steps < 1:
        raise GraphError(f"schedule: expected a run of 1 update or more, got {steps}; train longer")
    if not 0 <= warm_up < steps:
        raise GraphError(f"schedule: expected a warm-up of 0 to {steps - 1} updates, got {warm_up}; shorten it")
    rest = max(steps - warm_up, 1)
    made: Schedule = Constant()
    if name == "step":
        passed = tuple(at - warm_up for at in milestones) or (max(rest // 2, 1), max(3 * rest // 4, 1))
        made = Steps(passed, factor)
    elif name == "cosine":
        made = Cosine(rest)
    elif name == "one-cycle":
        made = OneCycle(rest)
    return WarmUp(made, warm_up) if warm_up else made
