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


@dataclass(frozen=True)
class CTC:
    """Connectionist temporal classification of the first output (N, T, C), scores before or after a softmax.

    targets : labels int64 (N, max_labels), padded; times that count int64 (N,); labels that count int64 (N,)
    """

    name: ClassVar[str] = "ctc"
    max_labels: int = 32
    blank: int = 0
    zero_infinity: bool = False
    probabilities: bool = False  # the network ends in a softmax of its own

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, TensorSpec]]:
        """LogSoftmax (or the logarithm) and one CTCLoss node."""
        n = tape.spec(outputs[0]).dims[0]
        shapes = {f"{TARGET}labels": (n, self.max_labels), f"{TARGET}times": (n,), f"{TARGET}lengths": (n,)}
        targets = [target(tape, TensorSpec(shape, "int64"), name) for name, shape in shapes.items()]
        log_probs = tape.node("Log" if self.probabilities else "LogSoftmax", [outputs[0]])
        loss, *_ = tape.node(
            "CTCLoss", [log_probs, *targets], outputs=3, name="loss", blank=self.blank,
            zero_infinity=int(self.zero_infinity),
        )  # fmt: skip
        return loss, {name: tape.spec(name) for name in targets}
