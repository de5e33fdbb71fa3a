"""How often a network is right: for each class, which it takes for which, and the worst images."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alula.runtime.data.dataset import Array, Dataset
from alula.runtime.errors import DataError
from alula.runtime.tasks.classify import Classifier, probabilities

WORST = 10  # images that are kept
UNEVEN = 3  # times as many samples in the largest class as in the smallest, which is worth a line
LEAST = 1e-30  # of a probability, so that its logarithm is finite


@dataclass(frozen=True)
class Mistake:
    """An image that the network got wrong.

    sample      : its place in the set
    own         : probability of its own class
    seen_as     : the class that was the best, and its probability
    """

    sample: int
    label: int
    own: float
    seen_as: int
    probability: float


class Tally:
    """What a network says of labelled images, one after the other.

    kind      : of the scores that `add_scores` takes, see `kind_of_scores`
    confusion : (C, C) int64, label by answer
    top5      : how often the label was among the best five
    """

    def __init__(self, outputs: int, kind: str = "scores") -> None:
        self._kind = kind
        self.confusion = np.zeros((outputs, outputs), np.int64)
        self.top5, self._loss = 0, 0.0
        self._worst: list[tuple[float, int, Mistake]] = []

    def add(self, sample: int, label: int, shares: Array) -> None:
        """One image.

        sample : its place in the set
        shares : (C,) probabilities
        """
        best, own = int(shares.argmax()), float(shares[label])
        self.confusion[label, best] += 1
        self.top5 += int((shares > own).sum() < 5)
        self._loss -= float(np.log(max(own, LEAST)))
        if best != label:
            mistake = Mistake(sample, label, own, best, float(shares[best]))
            heapq.heappush(self._worst, (mistake.probability - own, -sample, mistake))
            if len(self._worst) > WORST:
                heapq.heappop(self._worst)

    def add_scores(self, samples: Array, labels: Array, scores: Array) -> None:
        """A batch of scores (B, C)."""
        for sample, label, row in zip(samples.tolist(), labels.tolist(), np.asarray(scores, np.float64), strict=True):
            self.add(sample, label, probabilities(row, self._kind))

    @property
    def samples(self) -> int:
        """How many there were."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share that was right."""
        return float(np.trace(self.confusion)) / max(self.samples, 1)

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return self._loss / max(self.samples, 1)

    def worst(self) -> list[Mistake]:
        """The images that were wrong by most, worst first."""
        return [entry[2] for entry in sorted(self._worst, key=lambda entry: entry[:2], reverse=True)]

    def per_class(self) -> Iterator[tuple[int, int, int, float | None, float | None]]:
        """Of each class: place, samples, right ones, recall, precision; None where there is nothing to divide by."""
        for place, row in enumerate(self.confusion):
            samples, right, answers = int(row.sum()), int(row[place]), int(self.confusion[:, place].sum())
            yield place, samples, right, right / samples if samples else None, right / answers if answers else None

    def document(self, classes: Sequence[str], files: Sequence[str] = ()) -> dict[str, Any]:
        """As JSON has it.

        classes : of the outputs
        files   : of the samples, where they have some
        """
        table = [
            {"class": place, "name": classes[place], "samples": samples, "right": right, "recall": recall, "precision": precision}
            for place, samples, right, recall, precision in self.per_class() if samples or precision is not None
        ]  # fmt: skip
        worst = [
            {"sample": one.sample, "image": files[one.sample] if files else "", "label": classes[one.label], "own": round(one.own, 6),
             "seen_as": classes[one.seen_as], "probability": round(one.probability, 6)}
            for one in self.worst()
        ]  # fmt: skip
        return {"samples": self.samples, "accuracy": self.accuracy, "top5": self.top5 / max(self.samples, 1),
                "loss": self.loss, "classes": table, "confusion": self.confusion.tolist(), "worst": worst}  # fmt: skip


def evaluate_set(
    classifier: Classifier, data: Dataset, outputs: int, watch: Callable[[int, int], None] = lambda done, total: None
) -> Tally:
    """What a network says of a set, one image after the other: the program that `predict` runs.

    data    : images as the classifier's preprocessing fits them, labels among the outputs
    outputs : of the network
    watch   : called after each image with how many are done, of how many
    raise   : DataError if the images are of another size, or none can be read
    """
    how = classifier.preprocessing
    if data.dtype != np.uint8 or len(data.shape) != 3 or (how.size or data.shape[:2]) != data.shape[:2]:
        size = "any size" if how.size is None else f"{how.size[0]}x{how.size[1]}"
        raise DataError(
            f"{data.name}: expected images of {size} in bytes, got {data.shape} {data.dtype}; use a folder of images"
        )
    tally, pixels = Tally(outputs), np.empty((1, *data.shape), np.uint8)
    for sample in range(len(data)):
        index = np.array([sample])
        if data.read(index, pixels)[0]:
            tally.add(sample, int(data.labels[sample]), classifier.of_pixels(how.normalise(pixels[0])))
        watch(sample + 1, len(data))
    if not tally.samples:
        raise DataError(f"{data.name}: expected images that can be read, got none of {len(data)}; check the files")
    return tally


def tell_imbalance(data: Dataset) -> str:
    """One line where some classes have many more samples than others; "" where not."""
    counts = np.bincount(data.labels, minlength=len(data.classes))
    most, least = int(counts.argmax()), int(np.where(counts > 0, counts, counts.max() + 1).argmin())
    if counts[most] < UNEVEN * counts[least]:
        return ""
    return f"uneven classes: {counts[most]} samples of {data.classes[most]}, {counts[least]} of {data.classes[least]}"
