"""What a network is for, as its file says it: `Task`, and its JSON (docs/artifact-format.md, "Task").

It lives under the key `task` of a file's metadata, one for each graph. Reading trusts nothing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from alula.runtime.data.choices import TASKS
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import ArtifactError, DataError
from alula.runtime.frozen import frozen
from alula.runtime.tasks import decoders

KEY = "task"  # of a file's metadata: graph -> task
ONNX_KEY = "alula.task"  # of an ONNX model's metadata: a task as JSON text
VERSION = 1
CLASSIFY, DETECT, POSE, SEGMENT, ARRAYS = TASKS
OF_THINGS = (DETECT, POSE, SEGMENT)  # tasks that find boxes
MAX_CLASSES = 1 << 16
MAX_CLASS_LENGTH = 1024  # characters
MAX_NUMBER = 1e30
CONF, IOU = 0.25, 0.45  # as the scripts of the YOLO family have them
ENTRIES = ("version", "kind", "classes", "preprocessing")
OF_DETECTORS = ("decoder", "conf", "iou")
OF_POSES = ("keypoints",)
OF_GRIDS = ("anchors",)  # of detect alone
MAX_KEYPOINTS, MAX_ANCHORS = 1024, 1024


@frozen
class Task:
    """What a network is for.

    kind          : classify: scores of classes; detect: boxes; pose: boxes with key points; segment: boxes with masks; arrays: its
                    outputs are given as they are
    classes       : their names, in the order of the outputs; () if they are not known
    preprocessing : what it expects of an image; None if that is not known
    decoder       : of those with boxes: how outputs become boxes, a file of `runtime/tasks/decoders/`; "" if that is not known
    conf, iou     : of those with boxes: the least score of a box; how much of their union two boxes of a class may share
    keypoints     : of pose: (K, D), how many points of D numbers: 2, x and y, or 3, with a score; () if that is not known
    anchors       : of detect: width and height of each anchor in pixels, grid after grid, the finest first; () for those of COCO
    raise         : DataError if it does not fit together
    """

    kind: str = CLASSIFY
    classes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    decoder: str = ""
    conf: float = CONF
    iou: float = IOU
    keypoints: tuple[int, ...] = ()
    anchors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in TASKS:
            raise DataError(f"task: expected {' or '.join(TASKS)}, got {self.kind!r}; choose one")
        if self.kind == ARRAYS and self.classes:
            raise DataError(f"task: expected classes of a network that tells them apart, got some for {self.kind!r}")
        if self.kind not in OF_THINGS and (self.decoder, self.conf, self.iou) != ("", CONF, IOU):
            raise DataError(f"task: expected a decoder and thresholds of a detector, got some for {self.kind!r}")
        if self.decoder and self.decoder not in decoders.names(self.kind):
            raise DataError(
                f"task: expected a decoder {', '.join(decoders.names(self.kind))} for {self.kind!r}, got {self.decoder!r}; choose one"
            )
        if self.keypoints and (self.kind != POSE or not _is_points(self.keypoints)):
            raise DataError(
                f"task: expected keypoints of pose, [K, 2] or [K, 3], got {list(self.keypoints)} for {self.kind!r}; correct them"
            )
        if not (0 <= self.conf <= 1 and 0 <= self.iou <= 1):
            raise DataError(f"task: expected conf and iou from 0 to 1, got {self.conf} and {self.iou}; correct them")
        if self.anchors and (self.kind != DETECT or not _are_anchors(self.anchors)):
            raise DataError(
                f"task: expected anchors of detect, widths and heights above 0 of up to {MAX_ANCHORS // 2}, got "
                f"{str(list(self.anchors))[:40]} for {self.kind!r}; correct them"
            )
        check_names(self.classes, "task")

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        how = self.preprocessing
        values = None if how is None else {
            field.name: _plain(getattr(how, field.name)) for field in dataclasses.fields(how)
        }  # fmt: skip
        made = {"version": VERSION, "kind": self.kind, "classes": list(self.classes), "preprocessing": values}
        for name in (*OF_POSES, *OF_GRIDS):
            if getattr(self, name):
                made[name] = list(getattr(self, name))
        return made | ({name: getattr(self, name) for name in OF_DETECTORS} if self.kind in OF_THINGS else {})

    def text(self) -> str:
        """As the metadata of an ONNX model has it."""
        return json.dumps(self.document(), ensure_ascii=False, sort_keys=True)


def check_names(names: tuple[str, ...], where: str) -> None:
    """Refuse names of classes that are none.

    raise : DataError
    """
    if len(names) > MAX_CLASSES:
        raise DataError(f"{where}: expected at most {MAX_CLASSES} classes, got {len(names)}; is it the right file?")
    for number, name in enumerate(names):
        if not name.strip() or len(name) > MAX_CLASS_LENGTH or not name.isprintable():
            raise DataError(
                f"{where}: expected a printable name of 1 to {MAX_CLASS_LENGTH} characters for class {number}, got {name[:80]!r}; "
                "correct the labels"
            )


def task_of(metadata: Mapping[str, object], graph: str, where: str) -> Task | None:
    """The task of a graph, from the metadata of its file; None if it says nothing. A task in one word is a remark.

    raise : ArtifactError, one line, whatever is wrong with it
    """
    tasks = metadata.get(KEY)
    if tasks is None or isinstance(tasks, str):
        return None
    if not isinstance(tasks, dict):
        raise ArtifactError(
            f"{where}: expected the task of each graph in the metadata, got {_shown(tasks)}; pack the model again"
        )
    return None if graph not in tasks else read_task(tasks[graph], f"{where}: task of {graph}")


def with_tasks(metadata: Mapping[str, Any], tasks: Mapping[str, Task | None]) -> dict[str, Any]:
    """The metadata of a file with the tasks of its graphs."""
    known = {graph: task.document() for graph, task in tasks.items() if task is not None}
    return {**metadata, KEY: known} if known else dict(metadata)


def parse_task(text: str, where: str) -> Task:
    """A task from JSON text.

    raise : ArtifactError
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: expected a task in JSON, got {error}; export the model again") from None
    return read_task(value, where)


def read_task(value: Any, where: str) -> Task:
    """A task from JSON values.

    raise : ArtifactError
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    more = {POSE: OF_POSES, DETECT: OF_GRIDS}.get(kind, ()) if isinstance(kind, str) else ()
    own = (*(OF_DETECTORS if kind in OF_THINGS else ()), *more)
    fields = _object(value, where, (*ENTRIES, *own))
    version = fields.get("version")
    if version != VERSION or isinstance(version, bool):
        newer = isinstance(version, int) and version > VERSION
        advice = "it is of a newer version, update alula" if newer else "pack the model again"
        raise ArtifactError(f"{where}: expected version {VERSION}, got {_shown(version)}; {advice}")
    classes = fields.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ArtifactError(
            f"{where}: expected classes in a list of names, got {_shown(classes)}; pack the model again"
        )
    if not isinstance(kind, str):
        raise ArtifactError(f"{where}: expected kind {' or '.join(TASKS)}, got {_shown(kind)}; pack the model again")
    how = fields.get("preprocessing")
    try:
        made = None if how is None else _preprocessing(how, f"{where}: preprocessing")
        return Task(kind, tuple(classes), made, **_of_detector(fields, where))
    except DataError as error:
        raise ArtifactError(f"{where}: {error}") from None


def _of_detector(fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, entry in ((name, fields[name]) for name in (*OF_DETECTORS, *OF_POSES, *OF_GRIDS) if name in fields):
        if name == "decoder" and isinstance(entry, str):
            made[name] = entry
        elif name == "keypoints" and _is_size(entry):
            made[name] = tuple(entry)
        elif name == "anchors" and isinstance(entry, list) and all(map(_is_number, entry)):
            made[name] = tuple(map(float, entry))
        elif name in ("conf", "iou") and _is_number(entry):
            made[name] = float(entry)
        else:
            raise ArtifactError(f"{where}: expected {name} of another kind, got {_shown(entry)}; pack the model again")
    return made


def _are_anchors(value: tuple[float, ...]) -> bool:
    return len(value) % 2 == 0 and len(value) <= MAX_ANCHORS and all(0 < side <= MAX_NUMBER for side in value)


def _is_points(value: tuple[int, ...]) -> bool:
    return len(value) == 2 and 1 <= value[0] <= MAX_KEYPOINTS and value[1] in (2, 3)


def _preprocessing(value: Any, where: str) -> Preprocessing:
    kinds = {field.name: str(field.type) for field in dataclasses.fields(Preprocessing)}
    fields = _object(value, where, tuple(kinds))
    if missing := sorted(kinds.keys() - fields.keys()):
        raise ArtifactError(f"{where}: expected {missing[0]}, got none; pack the model again")
    made: dict[str, Any] = {}
    for name, entry in fields.items():
        kind = kinds[name]
        if kind == "str" and isinstance(entry, str):
            made[name] = entry
        elif kind == "float" and _is_number(entry):
            made[name] = float(entry)
        elif kind.startswith("tuple[float") and isinstance(entry, list) and all(map(_is_number, entry)):
            made[name] = tuple(map(float, entry))
        elif name == "size" and (entry is None or _is_size(entry)):
            made[name] = entry and tuple(entry)
        else:
            raise ArtifactError(f"{where}: expected {name} of another kind, got {_shown(entry)}; pack the model again")
    return Preprocessing(**made)


def _object(value: Any, where: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArtifactError(f"{where}: expected an object, got {_shown(value)}; pack the model again")
    if unknown := sorted(value.keys() - set(keys)):
        raise ArtifactError(
            f"{where}: expected the keys {', '.join(keys)}, got {_shown(unknown[0])} too; it is of a newer version, update alula"
        )
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
