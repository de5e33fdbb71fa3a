"""Optimisers: which update node a parameter gets, and its state between steps. Semantics are torch's."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array
from alula.runtime.planning.autodiff import Tape

DECAYS = ("all", "weights")


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
    scale : factor of all gradients
    rate  : how far the averages move towards the new weights
    keep  : 0 where a sum of gradients begins, then 1
    """

    lr: str
    step: str
    scale: str
    rate: str
    keep: str

    def values(self, **numbers: float) -> dict[str, Array]:
        """The arrays for one run, by field."""
        return {getattr(self, field): np.array(number, np.float32) for field, number in numbers.items()}


SCALARS = Scalars("lr|", "step|", "scale|", "rate|", "keep|")


def _check(optimizer: Any, **ranges: tuple[float, float]) -> None:
    """Refuse options out of range: low <= option < high.

    raise : GraphError that names the option
    """
    ranges = {"lr": (0, np.inf), "weight_decay": (0, np.inf)} | ranges
    for name, (low, high) in ranges.items():
        value = getattr(optimizer, name)
        if not low <= value < high:
            limit = f"{low:g} <= {name} < {high:g}" if np.isfinite(high) else f"a finite {name} >= {low:g}"
            raise GraphError(f"{optimizer.name}: expected {limit}, got {value:g}; correct it")
    if optimizer.decay not in DECAYS:
        raise GraphError(f"{optimizer.name}: expected decay {' or '.join(DECAYS)}, got {optimizer.decay!r}; choose one")


def _decay_of(optimizer: Any, tape: Tape, parameter: str) -> float:
    """The weight decay of a parameter: none for vectors (biases, normalisations) if decay is "weights"."""
    spared = optimizer.decay == "weights" and len(tape.spec(parameter).dims) < 2
    return 0.0 if spared else float(optimizer.weight_decay)


def _append(
    tape: Tape, op: str, parameter: str, inputs: list[str], slots: tuple[str, ...], **attrs: Any
) -> tuple[str, ...]:
    made = tape.node(op, inputs, outputs=1 + len(slots), name=f"{parameter}|update", **attrs)
    return tuple(made) if slots else (made,)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum (Polyak or Nesterov) and L2 weight decay; torch.optim.SGD's formula.

    decay : which parameters weight decay reaches: all, or weights (no biases, no normalisations)
    """

    name: ClassVar[str] = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    decay: str = "all"

    def __post_init__(self) -> None:
        _check(self, momentum=(0, 1))
        if self.nesterov and not self.momentum:
            raise GraphError("sgd: expected a momentum for Nesterov, got 0; give one, 0.9 is common")

    @property
    def slots(self) -> tuple[str, ...]:
        """The momentum buffer, if there is momentum."""
        return ("momentum",) if self.momentum else ()

    def update(
        self, tape: Tape, parameter: str, gradient: str, slots: tuple[str, ...], scalars: Scalars
    ) -> tuple[str, ...]:
        """One SGDUpdate node."""
        inputs = [parameter, gradient, slots[0] if slots else "", scalars.lr, scalars.scale]
        return _append(
            tape, "SGDUpdate", parameter, inputs, slots, momentum=self.momentum, nesterov=int(self.nesterov),
            weight_decay=_decay_of(self, tape, parameter),
        )  # fmt: skip


@dataclass(frozen=True)
class Adam:
    """Adam with L2 weight decay; torch.optim.Adam's formula. Kingma and Ba, arXiv 1412.6980."""

    name: ClassVar[str] = "adam"
    decoupled: ClassVar[int] = 0
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decay: str = "all"

    def __post_init__(self) -> None:
        _check(self, beta1=(0, 1), beta2=(0, 1), epsilon=(0, np.inf))

    @property
    def slots(self) -> tuple[str, ...]:
        """Running means of the gradient and of its square."""
        return ("first", "second")

    def update(
        self, tape: Tape, parameter: str, gradient: str, slots: tuple[str, ...], scalars: Scalars
    ) -> tuple[str, ...]:
        """One AdamUpdate node."""
        inputs = [parameter, gradient, *slots, scalars.lr, scalars.step, scalars.scale]
        return _append(
            tape, "AdamUpdate", parameter, inputs, slots, beta1=self.beta1, beta2=self.beta2, epsilon=self.epsilon,
            weight_decay=_decay_of(self, tape, parameter), decoupled=self.decoupled,
        )  # fmt: skip


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose weight decay shrinks the weights beside the step. Loshchilov and Hutter, arXiv 1711.05101."""

    name: ClassVar[str] = "adamw"
    decoupled: ClassVar[int] = 1
    weight_decay: float = 1e-2


@dataclass(frozen=True)
class SignSGD:
    """Steps of lr against the sign of the gradient, or of its running mean (Signum). Bernstein et al., arXiv 1802.04434."""

    name: ClassVar[str] = "signsgd"
    lr: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    decay: str = "all"

    def __post_init__(self) -> None:
        _check(self, momentum=(0, 1))

    @property
    def slots(self) -> tuple[str, ...]:
        """The running mean, if there is momentum."""
        return ("mean",) if self.momentum else ()

    def update(
        self, tape: Tape, parameter: str, gradient: str, slots: tuple[str, ...], scalars: Scalars
    ) -> tuple[str, ...]:
        """One SignSGDUpdate node."""
        inputs = [parameter, gradient, slots[0] if slots else "", scalars.lr, scalars.scale]
        decay = _decay_of(self, tape, parameter)
        return _append(
            tape, "SignSGDUpdate", parameter, inputs, slots, momentum=self.momentum, weight_decay=decay
        )  # fmt: skip


@dataclass(frozen=True)
class Lion:
    """Steps of lr against the sign of a mean of momentum and gradient. Chen et al., arXiv 2302.06675."""

    name: ClassVar[str] = "lion"
    lr: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0
    decay: str = "all"

    def __post_init__(self) -> None:
        _check(self, beta1=(0, 1), beta2=(0, 1))

    @property
    def slots(self) -> tuple[str, ...]:
        """The momentum."""
        return ("mean",)

    def update(
        self, tape: Tape, parameter: str, gradient: str, slots: tuple[str, ...], scalars: Scalars
    ) -> tuple[str, ...]:
        """One LionUpdate node."""
        inputs = [parameter, gradient, slots[0], scalars.lr, scalars.scale]
        return _append(
            tape, "LionUpdate", parameter, inputs, slots, beta1=self.beta1, beta2=self.beta2,
            weight_decay=_decay_of(self, tape, parameter),
        )  # fmt: skip


OPTIMIZERS: dict[str, type[Any]] = {kind.name: kind for kind in (SGD, Adam, AdamW, SignSGD, Lion)}


def optimizer(name: str, **options: Any) -> Optimizer:
    """An optimiser by name: sgd, adam, adamw, signsgd, lion.

    options : fields of its class; what is None is left at its default
    raise   : GraphError if there is no such optimiser or option, or an option is out of range
    """
    if name not in OPTIMIZERS:
        raise GraphError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {name!r}; choose one")
    known = [field.name for field in fields(OPTIMIZERS[name])]
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in known:
            raise GraphError(f"optimizer {name}: expected options among {', '.join(known)}, got {key}; leave it out")
    made: Optimizer = OPTIMIZERS[name](**given)
    return made
