"""Losses: what is appended to a network's outputs, and which targets a step then needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from alula.runtime.autodiff import Tape
from alula.runtime.errors import GraphError
from alula.runtime.graph import TensorSpec

TARGET = "target|"


class Loss(Protocol):
    """What builds the loss of a training program."""

    name: ClassVar[str]

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, TensorSpec]]:
        """Append the loss; its name (a scalar) and the specs of the targets that it reads."""
        ...


def target(tape: Tape, spec: TensorSpec, name: str = TARGET) -> str:
    """Declare a target; its name."""
    tape.specs[name] = spec
    return name


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax and cross-entropy of the first output (N, ..., C) with labels int64 (N, ...), averaged."""

    name: ClassVar[str] = "cross_entropy"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise GraphError(f"cross_entropy: expected label_smoothing from 0 to 1, got {self.label_smoothing}")

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, TensorSpec]]:
        """One SoftmaxCrossEntropyLoss node."""
        spec = tape.spec(outputs[0])
        labels = target(tape, TensorSpec(spec.dims[:-1], "int64"))
        loss, _ = tape.node(
            "SoftmaxCrossEntropyLoss", [outputs[0], labels], outputs=2, name="loss",
            label_smoothing=self.label_smoothing,
        )  # fmt: skip
        return loss, {labels: tape.spec(labels)}
