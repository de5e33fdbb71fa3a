"""Which class an image shows: a network's scores, as probabilities with names.

answer = alula.load("net.alula").predict("photo.jpg")
answer.name, answer.probability          # of the best
answer.names, answer.probabilities       # best first
"""

from __future__ import annotations

from typing import Any

import numpy as np

from alula.runtime.artifact.task import CLASSIFY, Task
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import DataError, GraphError, NoAnswerError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph
from alula.runtime.tasks.predictor import Run, image_input, output_specs

# What only moves or renames numbers
PASSED = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Transpose"})
PROBABILITIES = frozenset({"Softmax", "Sigmoid", "HardSigmoid"})  # Sigmoid: each class for itself
LOGARITHMS = frozenset({"LogSoftmax"})


@frozen
class Classification:
    """The classes of one image, best first.

    names         : of the best classes, the number of a class without a name; () if the network gave no answer
    probabilities : of these, 0 to 1
    places        : of these, among the network's outputs
    all           : (C,) float64, of every class in the order of the outputs
    """

    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    places: tuple[int, ...]
    all: Array

    @property
    def name(self) -> str:
        """The best class; "" if there is none."""
        return self.names[0] if self.names else ""

    @property
    def probability(self) -> float:
        """Of the best class; 0 if there is none."""
        return self.probabilities[0] if self.probabilities else 0.0

    def results(self) -> list[dict[str, Any]]:
        """As the lines of `alula run --out` have them."""
        rows = zip(self.places, self.names, self.probabilities, strict=True)
        return [{"class": place, "name": name, "probability": round(value, 6)} for place, name, value in rows]


class Classifier:
    """Tells classes apart with a network.

    run   : from inputs to outputs, by name: `model.run`, or that of another runtime
    graph : of the network
    task  : with its preprocessing
    where : what messages call it
    raise : DataError if preprocessing is missing or classes do not fit the outputs; GraphError if there are no scores
    """

    def __init__(self, run: Run, graph: Graph, task: Task, where: str) -> None:
        if task.kind != CLASSIFY:
            raise DataError(f"{where}: expected a network that tells classes apart, got the task {task.kind!r}")
        self.input, self.preprocessing = image_input(graph, task, where)
        self.classes, self.graph, self._run, self._where = task.classes, graph, run, where
        self._kind = kind_of_scores(graph)
        self.notes: list[str] = []
        outputs = count_scores(graph, self.preprocessing, where)
        check_classes_fit(self.classes, outputs, where)

    def __call__(self, image: Array) -> Array:
        """Probabilities of the classes, (C,) float64.

        image : (H, W, C) uint8, 3 channels blue green red, or 1
        """
        return self.of_pixels(self.preprocessing.normalise(self.preprocessing.fit(image)))

    def predict(self, image: Array, top: int = 5) -> Classification:
        """The best classes of an image, as `__call__` takes it.

        raise : DataError if `top` is below 1
        """
        if top < 1:
            raise DataError(f"{self._where}: expected top from 1 on, got {top}; correct it")
        return self.answer(self(image), top)

    def plan(self) -> None:
        """Run once on a black image, so that the first real one takes no longer than others; nothing where the size is free."""
        how = self.preprocessing
        if how.size is not None:
            self._run({self.input: how.normalise(np.zeros((*how.size, how.channels), np.uint8))})

    def of_pixels(self, x: Array) -> Array:
        """The same, of an input as the preprocessing gives it.

        raise : NoAnswerError if the network's scores are not finite
        """
        scores = np.asarray(self._run({self.input: x})[self.graph.outputs[0]], np.float64).reshape(-1)
        if not scores.size or not scores.max() < np.inf or scores.max() == -np.inf:  # NaN, too; -inf may be a mask
            raise NoAnswerError(
                f"{self._where}: expected finite scores of classes, got {scores[:4]}; is the network or its preprocessing another?"
            )
        return probabilities(scores, self._kind)

    def answer(self, probabilities: Array, top: int = 5) -> Classification:
        """The best classes; equal ones in the order of the outputs."""
        places = np.argsort(-probabilities, kind="stable")[:top]
        names = tuple(self.classes[place] if self.classes else str(place) for place in places)
        return Classification(
            names, tuple(probabilities[places].tolist()), tuple(int(place) for place in places), probabilities
        )


def probabilities(scores: Array, kind: str = "scores") -> Array:
    """(C,) float64 of scores, their logarithms, or themselves."""
    if kind == "probabilities":
        return scores
    powers = np.exp(scores - scores.max()) if kind == "scores" else np.exp(scores)
    shares: Array = powers / powers.sum() if kind == "scores" else powers
    return shares


def kind_of_scores(graph: Graph) -> str:
    """scores, probabilities or logarithms: what the network's last op that changes numbers gives."""
    op = last_op(graph, graph.outputs[0])
    return "probabilities" if op in PROBABILITIES else "logarithms" if op in LOGARITHMS else "scores"


def last_op(graph: Graph, name: str) -> str:
    """The last op that changes numbers on the way to an output; "" if none does."""
    makers = graph.producers()
    while (node := makers.get(name)) is not None:
        op = node.fused[-1].op if node.fused else node.op
        if op not in PASSED or node.fused:
            return op
        name = node.inputs[0]
    return ""


def count_scores(graph: Graph, how: Preprocessing | None, where: str) -> int | None:
    """How many scores the network gives for one image; None if that is known only when it runs.

    raise : GraphError unless its first output is (1, C), also with axes of 1 behind
    """
    specs = output_specs(graph, how)
    if specs is None:
        return None
    dims = specs[0].dims
    if len(dims) < 2 or dims[0] != 1 or any(dim != 1 for dim in dims[2:]) or dims[1] < 1:
        raise GraphError(f"{where}: expected scores (1, C) to tell classes apart, got {dims}; use --task arrays")
    return dims[1]


def check_classes_fit(classes: tuple[str, ...], outputs: int | None, where: str) -> None:
    """Refuse names that do not fit the outputs.

    raise : DataError
    """
    if classes and outputs is not None and len(classes) != outputs:
        more = "; the first of 1001 is usually the background" if outputs == len(classes) + 1 == 1001 else ""
        raise DataError(
            f"{where}: expected {outputs} names of classes, one for each output, got {len(classes)}; correct the labels{more}"
        )


def predictor(run: Run, graph: Graph, task: Task, where: str) -> Classifier:
    """What `open_predictor` asks for."""
    return Classifier(run, graph, task, where)
