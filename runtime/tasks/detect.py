"""Which things an image shows and where: a network's outputs as boxes with names.

found = alula.load("net.alula").predict("photo.jpg")
found.boxes, found.scores, found.names   # best first; boxes are left, top, right, bottom in pixels of the image
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from alula.runtime.artifact.task import DETECT, MAX_CLASSES, Task
from alula.runtime.data.placement import Placement
from alula.runtime.errors import DataError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph, TensorSpec
from alula.runtime.tasks.classify import last_op
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, apart, fit_decoder
from alula.runtime.tasks.predictor import Run, image_input, output_specs

MAX_SCORE = 1.01  # half precision and integers round a little above 1


@frozen
class Detections:
    """What was found in one image, best first.

    boxes   : (N, 4) float32 of left, top, right, bottom, in pixels of the image
    scores  : (N,) float32, 0 to 1
    classes : (N,) int64, among those of the network
    names   : of the classes; the number of a class without a name
    tracks  : (N,) int64, which boxes of a video are the same thing; None of an image alone
    """

    boxes: Array
    scores: Array
    classes: Array
    names: tuple[str, ...]
    tracks: Array | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, rows: Array) -> Self:
        """Some of them, by their places (K,)."""
        tracks = None if self.tracks is None else self.tracks[rows]
        names = tuple(self.names[row] for row in rows)
        return replace(
            self,
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            classes=self.classes[rows],
            names=names,
            tracks=tracks,
        )

    def results(self) -> list[dict[str, Any]]:
        """As the lines of `alula run --out` have them."""
        rows = zip(self.classes.tolist(), self.names, self.scores.tolist(), self.boxes.tolist(), strict=True)
        results: list[dict[str, Any]] = [
            {"class": place, "name": name, "score": round(score, 6), "box": [round(edge, 2) for edge in box]}
            for place, name, score, box in rows
        ]
        if self.tracks is not None:
            for result, track in zip(results, self.tracks.tolist(), strict=True):
                result["track"] = track
        return results


class Detector:
    """Finds things with a network.

    run   : from inputs to outputs, by name: `model.run`, or that of another runtime
    graph : of the network
    task  : with its preprocessing, decoder and thresholds
    where : what messages call it
    notes : what there is to say about the images so far, each line once
    raise : DataError if preprocessing is missing or classes do not fit the outputs; GraphError if the decoder does not
    """

    kind = DETECT  # of the task

    @property
    def has_things(self) -> bool:
        """Whether a box is one thing, which may be tracked."""
        return True

    def __init__(self, run: Run, graph: Graph, task: Task, where: str) -> None:
        if task.kind != self.kind:
            raise DataError(f"{where}: expected a network to {self.kind}, got the task {task.kind!r}")
        self.input, self.preprocessing = image_input(graph, task, where)
        self.task, self.classes, self.graph, self._run, self._where = task, task.classes, graph, run, where
        self._fits: dict[Outputs, Fit] = {}
        self.notes: list[str] = []
        self._ops, self._ends = ops_of(graph), tuple(last_op(graph, name) for name in graph.outputs)
        specs = output_specs(graph, self.preprocessing)
        if specs is not None and self.preprocessing.size is not None:
            self._fit([spec.dims for spec in specs], [spec.dtype for spec in specs], self.preprocessing.size)

    def __call__(
        self,
        image: Array,
        conf: float | None = None,
        iou: float | None = None,
        agnostic: bool = False,
        only: Sequence[str] = (),
    ) -> Detections:
        """What an image shows.

        image    : (H, W, C) uint8, 3 channels blue green red, or 1
        conf     : least score; iou : greatest overlap of two boxes of a class. None: the task's
        agnostic : boxes of different classes drop each other, too
        only     : names of the classes that count; () is all
        """
        wanted = self.places(only)
        pixels = self.preprocessing.fit(image)
        found = self.of_pixels(
            self.preprocessing.normalise(pixels), (pixels.shape[0], pixels.shape[1]), conf, iou, agnostic, wanted
        )
        return self.answer(found, self.preprocessing.placement(image.shape[0], image.shape[1]), pixels.shape[:2])

    def predict(self, image: Array, **options: Any) -> Detections:
        """The same."""
        return self(image, **options)

    def answer(self, found: Candidates, where: Placement, size: tuple[int, ...]) -> Detections:
        """What was found, in pixels of the image.

        where : the image lies in the input, whose size is (H, W)
        """
        names = tuple(self.classes[kind] if 0 <= kind < len(self.classes) else str(kind) for kind in found.classes)
        return Detections(where.to_image(found.boxes), found.scores, found.classes, names)

    def of_pixels(
        self, x: Array, size: tuple[int, int], conf: float | None = None, iou: float | None = None, agnostic: bool = False,
        only: Sequence[int] = (),
    ) -> Candidates:  # fmt: skip
        """The same of an input as the preprocessing gives it, in pixels of the input (size H, W). only : places of classes"""
        conf, iou = self.task.conf if conf is None else conf, self.task.iou if iou is None else iou
        for name, value in (("conf", conf), ("iou", iou)):
            if not 0 <= value <= 1:
                raise DataError(f"{self._where}: expected {name} from 0 to 1, got {value!r}; correct it")
        given = self._run({self.input: x})
        arrays = [given[name] for name in self.graph.outputs]
        fit = self._fit([array.shape for array in arrays], [array.dtype.name for array in arrays], size)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is no box
            found = chosen(fit.decode(arrays, conf), fit, conf, iou, agnostic, only)
        self._check(found)
        return found

    def _check(self, found: Candidates) -> None:
        """Look at what only values tell: scores that are none, and classes without a name, which are said once."""
        if len(found.scores) and (best := float(found.scores[0])) > MAX_SCORE:
            raise DataError(
                f"{self._where}: expected scores from 0 to 1, got {best:.6g}; the decoder {self.task.decoder} reads an export with its "
                "sigmoid: export the network again, or check the decoder and the preprocessing"
            )
        most = int(found.classes.max(initial=0))
        if self.classes and most >= len(self.classes) and not self.notes:
            self.notes.append(
                f"{self._where}: a box is of class {most}, and only {len(self.classes)} classes have names; it is shown by its number, "
                "check --labels"
            )

    def plan(self) -> None:
        """Run once on a black image, so that the first real one takes no longer than others; nothing where the size is free."""
        how = self.preprocessing
        if how.size is not None:
            self(np.zeros((*how.size, how.channels), np.uint8))

    def places(self, names: Sequence[str]) -> list[int]:
        """The places of classes by their names (all that have a name), or by their numbers where they have none.

        raise : DataError if there is no such class
        """
        if not names:
            return []
        if isinstance(names, str):
            raise DataError(f"{self._where}: expected a list of classes, got the text {names!r}; give [{names!r}]")
        known: dict[str, list[int]] = {}
        for place, name in enumerate(self.classes):
            known.setdefault(name, []).append(place)
        shown = ", ".join(f'"{name}"' if "," in name else name for name in list(known)[:8]) + (
            ", ..." if len(known) > 8 else ""
        )
        if not known:
            count = next((fit.classes for fit in self._fits.values() if fit.classes), MAX_CLASSES)
            known = {name: [int(name)] for name in names if _is_number(name) and int(name) < count}
            shown = f"numbers from 0 to {count - 1}"
        if unknown := [name for name in names if name not in known]:
            raise DataError(f"{self._where}: expected classes of {shown}, got {unknown[0]!r}; correct the name")
        return [place for name in names for place in known[name]]

    def _fit(self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str], size: tuple[int, int]) -> Fit:
        """The decoder for outputs of these shapes, made once."""
        outputs = Outputs(
            tuple(shapes),
            tuple(dtypes),
            size,
            len(self.classes),
            self._ops,
            self.task.keypoints,
            self.task.anchors,
            self._ends,
        )
        if outputs not in self._fits:
            self._fits[outputs] = fit_decoder(self.task.decoder, outputs, self._where, self.kind)
        return self._fits[outputs]


def chosen(found: Candidates, fit: Fit, conf: float, iou: float, agnostic: bool, only: Sequence[int]) -> Candidates:
    """The candidates that are left: boxes whose scores are above conf, of the classes that count, apart; best first."""
    if only:
        found = found.at(np.flatnonzero(np.isin(found.classes, only)))
    return found.at(apart(found, conf, math.inf if fit.is_apart else iou, fit.classes, agnostic))


def _is_number(name: object) -> bool:
    """Whether a class is named by a number, of as many digits as there may be classes."""
    return isinstance(name, str) and name.isascii() and name.isdigit() and len(name) <= len(str(MAX_CLASSES))


def ops_of(graph: Graph) -> frozenset[str]:
    """The ops in a graph, those of epilogues too."""
    return frozenset(op for node in graph.nodes for op in (node.op, *(stage.op for stage in node.fused)))


def check_decoder(graph: Graph, task: Task, where: str) -> None:
    """Refuse a task's decoder, or names of classes, that do not fit the outputs, as far as their shapes are known before a run.

    raise : GraphError, DataError
    """
    how = task.preprocessing
    specs = None if how is None else output_specs(graph, how)
    if specs is not None and how is not None and how.size is not None:
        fit_decoder(task.decoder, outputs_of(graph, specs, how.size, task), where, task.kind)


def outputs_of(graph: Graph, specs: Sequence[TensorSpec], size: tuple[int, int], task: Task) -> Outputs:
    """What decoders want to know of a graph."""
    dims, dtypes = tuple(spec.dims for spec in specs), tuple(spec.dtype for spec in specs)
    ends = tuple(last_op(graph, name) for name in graph.outputs)
    return Outputs(dims, dtypes, size, len(task.classes), ops_of(graph), task.keypoints, task.anchors, ends)


def predictor(run: Run, graph: Graph, task: Task, where: str) -> Detector:
    """What `open_predictor` asks for."""
    return Detector(run, graph, task, where)
