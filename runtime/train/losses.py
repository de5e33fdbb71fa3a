"""Losses: the nodes appended to a network's outputs, and the targets that a step then needs. All read the first output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from alula.runtime.errors import DTypeError, GraphError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.memory.aligned import native
from alula.runtime.planning.autodiff import Tape

TARGET = "target|"
IGNORED = -100  # the label that does not count, unless another is chosen; as in torch


@frozen
class Target:
    """What a step is given beside the inputs.

    classes : labels are from 0 to classes - 1; 0 if it holds no labels
    ignored : the label that may stand where none counts
    shares  : numbers are from 0 to 1
    """

    spec: TensorSpec
    classes: int = 0
    ignored: int | None = None
    shares: bool = False

    def checked(self, array: Array) -> Array:
        """The array as the program reads it.

        raise : ShapeError, DTypeError, GraphError: one line
        """
        array = native(np.asarray(array)).reshape(np.shape(array))
        if array.shape != self.spec.dims:
            raise ShapeError(f"target: expected {self.spec}, got shape {array.shape}; pass one per sample")
        if array.dtype.name != self.spec.dtype:
            if self.spec.dtype != "int64" or array.dtype.kind not in "iu":
                raise DTypeError(f"target: expected {self.spec}, got {array.dtype}; convert it")
            array = array.astype(np.int64)
        if self.classes:
            wrong = (array < 0) | (array >= self.classes)
            if self.ignored is not None:
                wrong &= array != self.ignored
            _refuse(array, wrong, f"labels from 0 to {self.classes - 1}", "correct the labels")
        elif self.shares:
            _refuse(array, ~((array >= 0) & (array <= 1)), "numbers from 0 to 1", "scale them")
        return array


def _refuse(array: Array, wrong: Array, expected: str, advice: str) -> None:
    if wrong.any():
        place = np.unravel_index(int(np.argmax(wrong)), array.shape)
        where = ", ".join(map(str, place))
        raise GraphError(f"target: expected {expected}, got {array[place]} at {where}; {advice}")


class Loss(Protocol):
    """What builds the loss of a training program."""

    name: ClassVar[str]

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, Target]]:
        """Append the loss; its name (a scalar) and the targets that it reads, in the order in which a step is given them."""
        ...

    def targets(self, inputs: Sequence[Array], given: Sequence[Array]) -> Sequence[Array]:
        """The targets of a step whose caller gave `given`."""
        ...


class _AsGiven:
    """A loss whose targets come from the caller."""

    def targets(self, inputs: Sequence[Array], given: Sequence[Array]) -> Sequence[Array]:
        """See `Loss.targets`."""
        return given


def _declare(tape: Tape, target: Target, name: str = TARGET) -> tuple[str, dict[str, Target]]:
    tape.specs[name] = target.spec
    return name, {name: target}


def _scores(tape: Tape, output: str) -> str:
    """The scores that a softmax over the last axis turns into this output, or the output itself."""
    for node in tape.nodes:
        if output in node.outputs and node.op == "Softmax":
            last = len(tape.spec(output).dims) - 1
            return node.inputs[0] if node.attrs.axis in (-1, last) else output
    return output


def _cross_entropy(tape: Tape, scores: str, loss: CrossEntropy) -> tuple[str, dict[str, Target]]:
    spec = tape.spec(scores)
    if not spec.dims:
        raise ShapeError(f"cross_entropy: expected scores (N, ..., C), got {spec}; choose another loss")
    target = Target(TensorSpec(spec.dims[:-1], "int64"), spec.dims[-1], loss.ignore_index)
    labels, targets = _declare(tape, target)
    inputs = [scores, labels]
    if loss.class_weights:
        if len(loss.class_weights) != spec.dims[-1]:
            raise ShapeError(
                f"cross_entropy: expected {spec.dims[-1]} class weights, got {len(loss.class_weights)}; give one per class"
            )
        inputs.append(tape.constant(loss.class_weights))
    value, _ = tape.node(
        "CrossEntropy", inputs, outputs=2, name="loss", label_smoothing=loss.label_smoothing,
        ignore_index=loss.ignore_index,
    )  # fmt: skip
    return value, targets


@dataclass(frozen=True)
class CrossEntropy(_AsGiven):
    """Softmax and cross-entropy with labels int64 (N, ...), averaged; torch.nn.functional.cross_entropy, channels last.

    A network that ends in a softmax is trained on the scores before it.

    label_smoothing : share of the target that all classes get alike
    class_weights   : of each class; () for 1
    ignore_index    : a label that does not count
    """

    name: ClassVar[str] = "cross_entropy"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    ignore_index: int = IGNORED

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise GraphError(f"cross_entropy: expected label_smoothing from 0 to below 1, got {self.label_smoothing}")
        if any(not 0 <= weight < np.inf for weight in self.class_weights):
            raise GraphError(f"cross_entropy: expected class weights from 0 on, got {self.class_weights}; correct them")

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, Target]]:
        """One CrossEntropy node."""
        return _cross_entropy(tape, _scores(tape, outputs[0]), self)


@dataclass(frozen=True)
class MSE(_AsGiven):
    """Mean of the squared differences to a target like the output."""

    name: ClassVar[str] = "mse"

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, Target]]:
        """Sub, Mul, ReduceMean."""
        wanted, targets = _declare(tape, Target(tape.spec(outputs[0])))
        difference = tape.node("Sub", [outputs[0], wanted])
        return _mean(tape, tape.node("Mul", [difference, difference])), targets


@dataclass(frozen=True)
class L1(_AsGiven):
    """Mean of the absolute differences to a target like the output."""

    name: ClassVar[str] = "l1"

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, Target]]:
        """Sub, Abs, ReduceMean."""
        wanted, targets = _declare(tape, Target(tape.spec(outputs[0])))
        return _mean(tape, tape.node("Abs", [tape.node("Sub", [outputs[0], wanted])])), targets


@dataclass(frozen=True)
class BCE(_AsGiven):
    """Mean binary cross-entropy with targets float32 from 0 to 1 like the output, taken as scores (before a sigmoid).

    A network that ends in a sigmoid is trained on the scores before it.
    """

    name: ClassVar[str] = "bce"

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, Target]]:
        """(1 - t) x + softplus(-x), which keeps its precision on both sides."""
        scores = next((n.inputs[0] for n in tape.nodes if outputs[0] in n.outputs and n.op == "Sigmoid"), outputs[0])
        wanted, targets = _declare(tape, Target(tape.spec(scores), shares=True))
        rest = tape.node("Sub", [tape.constant(1.0), wanted])
        soft = tape.node("Softplus", [tape.node("Neg", [scores])])
        return _mean(tape, tape.node("Add", [tape.node("Mul", [scores, rest]), soft])), targets


def _mean(tape: Tape, each: str) -> str:
    axes = list(range(len(tape.spec(each).dims)))
    return str(tape.node("ReduceMean", [each, tape.constant(axes, "int64")], keepdims=0, name="loss"))


@dataclass(frozen=True)
class Distillation:
    """Learn from a teacher: alpha T^2 KL(teacher || student) at temperature T + (1 - alpha) cross-entropy with labels.

    A step is given the labels, then the teacher's scores like the output; only the labels if the teacher is here.

    teacher : a Model whose first output are scores of the same classes, run on the same inputs
    source  : Hinton, Vinyals and Dean, arXiv 1503.02531, section 2
    """

    name: ClassVar[str] = "distillation"
    teacher: Any = None
    temperature: float = 4.0
    alpha: float = 0.9
    hard: CrossEntropy = CrossEntropy()

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or not 0 < self.temperature < np.inf:
            raise GraphError(
                f"distillation: expected alpha from 0 to 1 and a temperature above 0, got {self.alpha:g} and "
                f"{self.temperature:g}; correct them"
            )

    def targets(self, inputs: Sequence[Array], given: Sequence[Array]) -> Sequence[Array]:
        """The labels, and what the teacher says."""
        if self.teacher is None:
            return given
        said = self.teacher(*inputs)
        return (*given, said[0] if isinstance(said, tuple) else said)

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, Target]]:
        """Both losses and their sum."""
        scores = _scores(tape, outputs[0])
        spec = tape.spec(scores)
        hard, targets = _cross_entropy(tape, scores, self.hard)
        taught, more = _declare(tape, Target(spec), f"{TARGET}teacher")
        cooler = tape.constant(1 / self.temperature)
        student = tape.node("LogSoftmax", [tape.node("Mul", [scores, cooler])])
        teacher = tape.node("LogSoftmax", [tape.node("Mul", [taught, cooler])])
        gap = tape.node("Mul", [tape.node("Exp", [teacher]), tape.node("Sub", [teacher, student])])
        factor = self.alpha * self.temperature**2 * spec.dims[-1]  # the mean is over rows, not over elements
        soft = tape.node("Mul", [_mean(tape, gap), tape.constant(factor)])
        return tape.node("Add", [soft, tape.node("Mul", [hard, tape.constant(1 - self.alpha)])]), {**targets, **more}


@dataclass(frozen=True)
class CTC(_AsGiven):
    """Connectionist temporal classification of the first output (N, T, C), scores before or after a softmax.

    targets : labels int64 (N, max_labels), padded; times that count int64 (N,); labels that count int64 (N,)
    """

    name: ClassVar[str] = "ctc"
    max_labels: int = 32
    blank: int = 0
    zero_infinity: bool = False

    def build(self, tape: Tape, outputs: tuple[str, ...]) -> tuple[str, dict[str, Target]]:
        """LogSoftmax and one CTCLoss node."""
        scores = _scores(tape, outputs[0])
        spec = tape.spec(scores)
        if len(spec.dims) != 3:
            raise ShapeError(f"ctc: expected scores (N, T, C), got {spec}; choose another loss")
        n, times, classes = spec.dims
        targets = {
            f"{TARGET}labels": Target(TensorSpec((n, self.max_labels), "int64"), classes),
            f"{TARGET}times": Target(TensorSpec((n,), "int64"), times + 1),
            f"{TARGET}lengths": Target(TensorSpec((n,), "int64"), self.max_labels + 1),
        }
        names = [_declare(tape, target, name)[0] for name, target in targets.items()]
        log_probs = tape.node("LogSoftmax", [scores])
        loss, *_ = tape.node(
            "CTCLoss", [log_probs, *names], outputs=3, name="loss", blank=self.blank,
            zero_infinity=int(self.zero_infinity),
        )  # fmt: skip
        return loss, targets


LOSSES: dict[str, type[Any]] = {kind.name: kind for kind in (CrossEntropy, MSE, L1, BCE, Distillation, CTC)}


def loss(name: str, **options: Any) -> Loss:
    """A loss by name: cross_entropy, mse, l1, bce, distillation, ctc.

    options : fields of its class; what is None is left at its default
    raise   : GraphError if there is no such loss
    """
    if name not in LOSSES:
        raise GraphError(f"loss: expected one of {', '.join(LOSSES)}, got {name!r}; choose one")
    made: Loss = LOSSES[name](**{key: value for key, value in options.items() if value is not None})
    return made
