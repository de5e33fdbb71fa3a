"""The task in a file's metadata: there and back, and one line for everything that is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alula.runtime.artifact.task import Task, parse_task, task_of, with_tasks
from alula.runtime.data import Preprocessing
from alula.runtime.errors import ArtifactError, DataError

TASK = Task(
    "classify", ("blue", "red"), Preprocessing("bgr", (8, 9), "crop", 0.875, mean=(0.1, 1 / 3, 7.0), std=(0.3,))
)

FINDS = Task("detect", ("car",), TASK.preprocessing, "yolov8", 0.125, 0.5)
POSES = Task("pose", ("person",), TASK.preprocessing, "yolov8_pose", keypoints=(17, 3))
MASKS = Task("segment", (), None, "yolov8_segment", 0.5)


def test_a_task_comes_back_as_it_was() -> None:
    assert parse_task(TASK.text(), "net") == TASK
    assert parse_task(Task("arrays").text(), "net") == Task("arrays")
    for task in (FINDS, POSES, MASKS, replace(FINDS, decoder="yolov5_raw", anchors=(1.0, 2.5))):
        assert parse_task(task.text(), "net") == task
    assert "keypoints" not in MASKS.document() and POSES.document()["keypoints"] == [17, 3]
    assert set(FINDS.document()) - set(TASK.document()) == {"decoder", "conf", "iou"}  # others stay as they were
    assert parse_task('{"version": 1, "kind": "detect"}', "net") == Task("detect")
    metadata = with_tasks({"made": 1}, {"a": TASK, "b": None})
    assert task_of(metadata, "a", "net") == TASK and task_of(metadata, "b", "net") is None
    assert task_of({"task": "text spotting"}, "a", "net") is None and with_tasks({"made": 1}, {"a": None}) == {
        "made": 1
    }


def changed(**entries: Any) -> str:
    return json.dumps({**TASK.document(), **entries})


def found(**entries: Any) -> str:
    return json.dumps({**FINDS.document(), **entries})


def posed(**entries: Any) -> str:
    return json.dumps({**POSES.document(), **entries})


def preprocessed(**entries: Any) -> str:
    return changed(preprocessing={**TASK.document()["preprocessing"], **entries})


@pytest.mark.parametrize(
    "text, said",
    [("{", "JSON"), ("[]", "an object"), (changed(version=2), "newer version"), (changed(version=True), "version 1"),
     (changed(decoder="yolov8"), "'decoder' too; it is of a newer version"), (changed(kind="caption"), "'caption'"),
     (changed(kind=3), "kind"),
     (found(decoder="yolo"), "'yolo'"), (found(decoder=8), "decoder"), (found(conf="0.5"), "conf"), (found(iou=1.5), "0 to 1"),
     (found(keypoints=[17, 3]), "'keypoints' too"), (posed(keypoints=[17, 4]), "[K, 2]"), (posed(keypoints=[17]), "keypoints"),
     (posed(keypoints=[0, 3]), "[K, 2]"), (posed(keypoints=17), "keypoints"), (posed(decoder="yolov8"), "yolov8_pose"),
     (posed(anchors=[1, 2]), "'anchors' too"), (found(anchors=[1, 2, 3]), "anchors"), (found(anchors=[1, 0]), "anchors"),
     (found(anchors="1"), "anchors"), (found(anchors=[1, True]), "anchors"), (found(anchors=[1, 10**400]), "anchors"),
     (found(decoder="yolov8_pose"), "for 'detect'"), (found(conf=True), "conf"), (found(charset="x"), "'charset' too"),
     (changed(classes={"0": "a"}), "classes"), (changed(classes=["a", ""]), "class 1"), (changed(classes=["a\nb"]), "class 0"),
     (changed(classes=["x" * 2000]), "class 0"), (changed(preprocessing=3), "an object"), (preprocessed(gamma=2), "'gamma' too"),
     (changed(preprocessing={"colour": "rgb"}), "expected crop"), (preprocessed(mean="0.5"), "mean"), (preprocessed(size=[8]), "size"),
     (preprocessed(size=[True, 8]), "size"), (preprocessed(scale=10**400), "scale"), (preprocessed(mean=[10**400]), "mean"),
     (preprocessed(std=[0]), "std above 0"), (preprocessed(colour="grey"), "channels"), (preprocessed(resize=1), "resize"),
     (changed(kind="arrays"), "classes")],
)  # fmt: skip
def test_what_is_wrong_is_one_line(text: str, said: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        parse_task(text, "net.alula: task of net")
    line = str(caught.value)
    assert line.startswith("net.alula: task of net: ") and said in line and "\n" not in line and len(line) <= 280


KEYS = st.sampled_from(["version", "kind", "classes", "preprocessing", "size", "mean", "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
    )
)
@settings(max_examples=50, database=None)
def test_no_value_is_a_crash(value: Any) -> None:
    for metadata in ({"task": value}, {"task": {"a": value}}):
        try:
            task_of(metadata, "a", "net")
        except ArtifactError:
            continue


def test_a_task_that_cannot_be_is_refused() -> None:
    for options in (
        {"kind": "guess"},
        {"kind": "arrays", "classes": ("a",)},
        {"classes": (" ",)},
        {"decoder": "yolov8"},
        {"iou": 0.1},
    ):
        with pytest.raises(DataError, match=r"^task: expected"):
            Task(**options)  # type: ignore[arg-type]
