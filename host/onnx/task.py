"""What an ONNX model is for, as its exporter left it in the metadata.

alula.task                         our own export: everything
names, task, imgsz, stride         Ultralytics: names as a Python dict or JSON; classifiers and detectors
id2label, config, pretrained_cfg, preprocessor_config
                                   transformers and timm: their configurations as JSON
labels, classes                    names as JSON, or one a line
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alula.runtime.artifact.task import CLASSIFY, DETECT, OF_THINGS, ONNX_KEY, POSE, Task, parse_task
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import DataError, GraphError, ImportFileError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.planning.segments import needs_segments
from alula.runtime.tasks.classify import check_classes_fit, count_scores
from alula.runtime.tasks.decoding import fit_decoder, fit_of
from alula.runtime.tasks.detect import outputs_of
from alula.runtime.tasks.labels import names_from
from alula.runtime.tasks.predictor import output_specs

if TYPE_CHECKING:
    from alula.runtime.graph import Graph

NAMES = ("id2label", "label_names", "labels", "classes")
CONFIGURATIONS = ("config", "pretrained_cfg", "preprocessor_config")
RESAMPLE = {
    0: "nearest",
    2: "area",
    3: "cubic",
}  # Pillow's numbers; its bilinear averages where it shrinks, as area does
INTERPOLATIONS = {"nearest": "nearest", "bilinear": "area", "bicubic": "cubic"}


@frozen
class Found:
    """What metadata say. task : None if nothing; note : what there is to say about it, or "" """

    task: Task | None = None
    note: str = ""


def read_metadata(metadata: Mapping[str, str], where: str, graph: Graph) -> Found:
    """What an exporter says of a model's task. What is no task of classes, or does not fit the outputs, is left out and said.

    raise : ArtifactError if our own export says it in a way that cannot be read
    """
    if ONNX_KEY in metadata:
        return Found(parse_task(metadata[ONNX_KEY], f"{where}: {ONNX_KEY}"))
    try:
        kind = _kind(metadata, graph, where)
        if kind not in (CLASSIFY, *OF_THINGS):
            return Found(
                note=f"its exporter calls it a network to {kind}, which alula run does not know: it gives arrays"
            )
        classes, how = _ultralytics(metadata, where, kind) if "names" in metadata else _by_keys(metadata, where)
        if not classes and how is None:
            return Found()
        if len(graph.inputs) != 1:
            raise GraphError(f"{where}: expected one input, an image, got {len(graph.inputs)}")
        how = how and how.for_input(next(iter(graph.inputs.values())), where)
        if kind in OF_THINGS:
            task = Task(kind, classes, how, keypoints=_keypoints(metadata, where) if kind == POSE else ())
            return Found(replace(task, decoder=_decoder(metadata, graph, task, where)))
        check_classes_fit(classes, count_scores(graph, how, where), where)
    except (ImportFileError, ShapeError, GraphError, DataError) as error:
        return Found(note=f"what its exporter says of classes and images is left out: {error}")
    return Found(Task(CLASSIFY, classes, how))


def _kind(metadata: Mapping[str, str], graph: Graph, where: str) -> str:
    """Ultralytics names the task; YOLOv5 only says its stride, also for classifiers, whose scores are a matrix."""
    if "names" not in metadata or "task" in metadata or "stride" not in metadata:
        return metadata.get("task", CLASSIFY) if "names" in metadata else CLASSIFY
    specs = output_specs(graph, _sized(metadata, where))
    return CLASSIFY if specs is not None and len(specs[0].dims) == 2 else DETECT


def _keypoints(metadata: Mapping[str, str], where: str) -> tuple[int, ...]:
    """`kpt_shape`: how many points of how many numbers; () if it is missing.

    raise : ImportFileError
    """
    value = _literal(metadata["kpt_shape"], f"{where}: kpt_shape") if "kpt_shape" in metadata else []
    if not isinstance(value, list | tuple) or not all(type(number) is int for number in value):
        raise ImportFileError(
            f"{where}: expected kpt_shape [K, 2] or [K, 3], got {str(value)[:60]}; export the model again"
        )
    return tuple(value)


def _decoder(metadata: Mapping[str, str], graph: Graph, task: Task, where: str) -> str:
    """The one of Ultralytics' decoders that fits.

    raise : GraphError, DataError if none does
    """
    how, more = task.preprocessing, "" if task.kind == DETECT else f"_{task.kind}"
    specs = None if how is None or how.size is None else output_specs(graph, how)
    if (
        specs is None or how is None or how.size is None
    ):  # shapes that follow from data: only networks that suppress have them
        if "task" not in metadata or not needs_segments(graph):
            return "yolov5" if "task" not in metadata else f"yolov8{more}"
        return f"end_to_end{more}" if more or _suppresses(metadata, where) else "nms"
    outputs = outputs_of(graph, specs, how.size, task)
    own: tuple[str, ...] = (f"end_to_end{more}", f"yolov8{more}", *(() if more else ("nms",)))
    own = own if "task" in metadata else ("yolov5", "yolov5_raw")
    free = replace(outputs, classes=0)  # a family that fits but for the names says so itself
    fitting = [name for some in (outputs, free) for name in own if fit_of(name, some)]
    decoder = next(iter(fitting), own[0])
    fit_decoder(decoder, outputs, where, task.kind)
    return decoder


def _suppresses(metadata: Mapping[str, str], where: str) -> bool:
    """Whether Ultralytics' export had `nms=True`: then it gives as many rows for every image."""
    words = _literal(metadata["args"], f"{where}: args") if "args" in metadata else {}
    return isinstance(words, dict) and words.get("nms") is True


def _by_keys(metadata: Mapping[str, str], where: str) -> tuple[tuple[str, ...], Preprocessing | None]:
    """Configurations of transformers and timm, and names alone."""
    values: dict[str, Any] = {}
    for key in CONFIGURATIONS:
        if key in metadata:
            value = _literal(metadata[key], f"{where}: {key}")
            if not isinstance(value, dict):
                raise ImportFileError(
                    f"{where}: expected an object as {key} of the metadata, got {str(value)[:60]!r}; remove it"
                )
            inner = value.get("pretrained_cfg")
            values |= {**(inner if isinstance(inner, dict) else {}), **value}
    for key in NAMES:
        if key in metadata:
            values[key] = _literal(metadata[key], f"{where}: {key}", lines=True)
    labels = next((values[key] for key in NAMES if values.get(key)), None)
    try:
        return () if labels is None else names_from(labels, where), _configured(values)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise ImportFileError(
            f"{where}: expected a configuration of images in the metadata, got {error}; remove it"
        ) from None


def _ultralytics(metadata: Mapping[str, str], where: str, kind: str) -> tuple[tuple[str, ...], Preprocessing]:
    """Ultralytics' networks see RGB, 0 to 1: classifiers the middle of the image, detectors all of it."""
    classes = names_from(_literal(metadata["names"], f"{where}: names"), f"{where}: names")
    how = _sized(metadata, where)
    if kind in OF_THINGS:
        return classes, replace(how, resize="letterbox", interpolation="linear")
    return classes, replace(how, resize="crop")


def _sized(metadata: Mapping[str, str], where: str) -> Preprocessing:
    """Of the size that `imgsz` says.

    raise : ImportFileError if it says none
    """
    size = _literal(metadata["imgsz"], f"{where}: imgsz") if "imgsz" in metadata else None
    if size is not None and not (
        isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)
    ):
        raise ImportFileError(f"{where}: expected imgsz [H, W] in the metadata, got {size}; export the model again")
    return Preprocessing(size=(size[0], size[1]) if size else None)


def _configured(values: Mapping[str, Any]) -> Preprocessing | None:
    """From timm's pretrained_cfg or transformers' preprocessor_config; None if it has no mean and deviation."""
    if "mean" in values and "std" in values:  # timm
        made = Preprocessing(mean=_floats(values["mean"]), std=_floats(values["std"]), resize="crop")
        if isinstance(values.get("input_size"), list):
            made = replace(made, size=(int(values["input_size"][1]), int(values["input_size"][2])))
        if "crop_pct" in values:
            made = replace(made, crop=float(values["crop_pct"]))
        if values.get("crop_mode") == "squash":
            made = replace(made, resize="stretch")
        return replace(made, interpolation=INTERPOLATIONS.get(str(values.get("interpolation")), "area"))
    if "image_mean" not in values or "image_std" not in values:
        return None
    scale = float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 1.0
    made = Preprocessing(scale=scale)
    if values.get("do_normalize", True):
        made = replace(made, mean=_floats(values["image_mean"]), std=_floats(values["image_std"]))
    made = replace(made, interpolation=RESAMPLE.get(int(values.get("resample", 2)), "area"))
    size, cut = values.get("size"), values.get("crop_size")
    if values.get("do_center_crop") and cut is not None:
        wanted = _size(cut)
        short = (
            size.get("shortest_edge", min(_size(size)))
            if isinstance(size, dict) and "shortest_edge" in size
            else min(_size(size or cut))
        )
        return replace(made, size=wanted, resize="crop", crop=min(1.0, min(wanted) / int(short)))
    if isinstance(size, dict) and "shortest_edge" in size:
        edge, share = int(size["shortest_edge"]), float(values.get("crop_pct") or 1)
        return replace(made, size=(edge, edge), resize="crop", crop=share if edge < 384 else 1.0)
    return made if size is None else replace(made, size=_size(size))


def _size(value: Any) -> tuple[int, int]:
    if isinstance(value, dict):
        return int(value["height"]), int(value["width"])
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _literal(text: str, where: str, lines: bool = False) -> Any:
    """JSON, or what Python writes for dicts and lists; with `lines` also one a line.

    raise : ImportFileError
    """
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    if lines and text.strip():
        return text.splitlines()
    raise ImportFileError(f"{where}: expected JSON or a Python literal in the metadata, got {text[:60]!r}; remove it")
