"""What all tasks on images have in common: a network with its preprocessing that gives an answer for an image."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from alula.runtime.artifact.task import ARRAYS, Task
from alula.runtime.data.layout import image_axes
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import DataError, GraphError
from alula.runtime.graph import Array, Graph, TensorSpec
from alula.runtime.planning.segments import needs_segments
from alula.runtime.planning.specialise import specialise

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class Answer(Protocol):
    """What a network says of an image."""

    def results(self) -> list[dict[str, Any]]:
        """As the lines of `alula run --out` have them."""
        ...


class Predictor(Protocol):
    """A network at its task. `predict(image, **options)` gives an `Answer`; options are those of the task."""

    preprocessing: Preprocessing
    notes: list[str]  # what there is to say about the images so far

    @property
    def predict(self) -> Callable[..., Answer]:
        """From an image (H, W, C) uint8, 3 channels blue green red, or 1, to an answer."""
        ...

    def plan(self) -> None:
        """Run once, so that the first image takes no longer than others."""
        ...


def open_predictor(run: Run, graph: Graph, task: Task | None, where: str) -> Predictor:
    """A network at the task of its file; the file of this folder that has the task's name says how.

    raise : DataError, GraphError if the network cannot do it
    """
    if task is None or (task.preprocessing is None and task.kind != ARRAYS):
        raise DataError(without_preprocessing(where))
    if task.kind == ARRAYS:
        raise DataError(f"{where}: expected a network with a task on images, got {task.kind!r}; run it on arrays")
    module = importlib.import_module(f"alula.runtime.tasks.{task.kind}")
    return cast("Predictor", module.predictor(run, graph, task, where))


def without_preprocessing(where: str) -> str:
    """The message that refuses an image."""
    return (
        f"{where}: expected preprocessing for an image, got none; say it with --preset imagenet (or others), --mean, --std, "
        "--scale, --size, --bgr, --letterbox, here or in alula pack"
    )


def image_input(graph: Graph, task: Task, where: str) -> tuple[str, Preprocessing]:
    """The input that takes the image, and what it expects.

    raise : DataError if the preprocessing is missing or does not fit, GraphError or ShapeError if there is no such input
    """
    if task.preprocessing is None:
        raise DataError(without_preprocessing(where))
    if len(graph.inputs) != 1:
        raise GraphError(f"{where}: expected one input, an image, got {', '.join(graph.inputs)}; give arrays in a .npz")
    name, spec = next(iter(graph.inputs.items()))
    return name, task.preprocessing.for_input(spec, where, task.preprocessing.layout)


def output_specs(graph: Graph, how: Preprocessing | None) -> list[TensorSpec] | None:
    """What the network gives for one image; None if that is known only when it runs."""
    if len(graph.inputs) != 1 or not (spec := next(iter(graph.inputs.values()))).shape:
        return None
    shape = [1, *spec.shape[1:]] if isinstance(spec.shape[0], str) else list(spec.shape)
    if how is not None and how.size is not None:
        for axis, side in zip(image_axes(how.layout), how.size):
            shape[axis] = side
    if any(isinstance(dim, str) for dim in shape) or needs_segments(graph):
        return None
    fixed = specialise(graph, {next(iter(graph.inputs)): TensorSpec(tuple(shape), spec.dtype)})
    return [fixed.specs[name] for name in graph.outputs]
