"""Poses and masks from the command line: what Ultralytics' exports say is what runs, is written and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import alula
from alula.cli import main
from tests.small_network import write_detector
from tests.test_classes import ran, refused

cv2 = pytest.importorskip("cv2")
SIZE = {"imgsz": "[64, 96]", "stride": "32"}
PERSON = {**SIZE, "names": "{0: 'person'}", "task": "pose", "kpt_shape": "[17, 3]"}
THINGS = {**SIZE, "names": "{0: 'car', 1: 'dog'}", "task": "segment"}


def pose() -> np.ndarray:
    """(1, 56, 126): one person in the middle, whose points go from left to right; the last is hidden."""
    y = np.zeros((1, 56, 126), np.float32)
    y[0, :5, 7] = 48, 32, 40, 30, 0.75
    y[0, 5:, 7] = np.stack([np.arange(17) * 2 + 30, np.full(17, 32), [1] * 16 + [0.125]], 1).ravel()
    return y


def masks() -> dict[str, np.ndarray]:
    """A car and a dog; the car's mask is the upper half of the image, the dog's the rest."""
    y = np.zeros((1, 4 + 2 + 3, 126), np.float32)
    y[0, :, 4] = 24, 32, 40, 40, 0.75, 0, 1, 0, 0
    y[0, :, 9] = 72, 32, 40, 40, 0, 0.5, -1, 0, 0
    p = np.zeros((1, 3, 16, 24), np.float32)
    p[0, 0] = np.where(np.arange(16) < 8, 1, -1)[:, None]
    return {"y": y, "p": p}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    writer = cv2.VideoWriter(str(tmp_path / "in.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    for _ in range(4):
        writer.write(np.full((64, 96, 3), 60, np.uint8))
    writer.release()
    cv2.imwrite(str(tmp_path / "image.png"), np.full((128, 192, 3), 60, np.uint8))
    return tmp_path


def drawn(path: Path) -> np.ndarray:
    good, image = cv2.VideoCapture(str(path)).read()
    assert good
    return np.asarray(image).astype(int)


def test_poses_are_printed_written_and_drawn(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, packed = write_detector(place / "net.onnx", {"y": pose()}, metadata=PERSON), place / "net.alula"
    assert main(["pack", str(source), "-o", str(packed)]) == 0
    task = alula.load(packed).task
    assert task and (task.kind, task.decoder, task.keypoints, task.classes) == (
        "pose",
        "yolov8_pose",
        (17, 3),
        ("person",),
    )
    document = ran(capsys, "run", packed, place / "image.png", "--out", place / "out.jsonl")
    (line,) = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert line == document["answers"][0] and line["task"] == "pose"  # type: ignore
    assert line["results"][0]["keypoints"][:2] == [[60, 64, 1], [64, 64, 1]] and line["results"][0]["box"] == [
        56,
        34,
        136,
        94,
    ]
    assert main(["run", str(packed), str(place / "image.png")]) == 0
    assert "right ankle" in (said := capsys.readouterr().out) and "0.12" in said
    found = alula.load(packed).predict(place / "image.png")
    assert found.keypoints.shape == (1, 17, 3) and found.seen().sum() == 16
    ran(capsys, "run", packed, place / "in.avi", "--video", place / "out.avi", "--out", place / "out.jsonl")
    assert json.loads((place / "out.jsonl").read_text().splitlines()[2])["results"][0]["track"] == 1
    image = drawn(place / "out.avi")
    assert image[32, 30, 2] > 150 and image[32, 90, 2] < 90  # the nose is red
    exported = place / "again.onnx"
    assert main(["export", str(packed), "-o", str(exported)]) == 0
    assert ran(capsys, "run", exported, place / "image.png")["answers"] == document["answers"]


def test_masks_are_printed_written_and_drawn(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, packed = write_detector(place / "net.onnx", masks(), metadata=THINGS), place / "net.alula"
    assert main(["pack", str(source), "-o", str(packed)]) == 0
    document = ran(capsys, "run", packed, place / "image.png")
    car, dog = document["answers"][0]["results"]  # type: ignore
    assert (car["name"], car["area"], dog["name"], dog["area"]) == ("car", 80 * 40, "dog", 80 * 40)
    assert car["mask"]["size"] == [128, 192] and car["mask"]["counts"][:3] == [8 * 128 + 24, 40, 88]
    assert sum(car["mask"]["counts"]) == 128 * 192
    found = alula.load(packed).predict(place / "image.png")
    assert found.mask(0)[24:64, 8:88].all() and found.mask(0).sum() == 3200 and found.mask(1)[64:104, 104:184].all()
    assert main(["run", str(packed), str(place / "image.png")]) == 0
    assert "13.0%" in capsys.readouterr().out
    document = ran(capsys, "run", packed, place / "in.avi", "--video", place / "out.avi", "--classes-only", "car")
    assert document["objects"] == {"car": 1} and document["task"] == "segment"
    image = drawn(place / "out.avi")
    assert image[26, 24, 1] > image[40, 24, 1] + 40  # the upper half is covered in green


def test_a_map_of_classes_is_printed_and_drawn(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y = np.zeros((1, 3, 16, 24), np.float32)
    y[0, 0, :, :12], y[0, 2, :, 12:] = 4, 4
    (place / "names.txt").write_text("sky\nsea\nland\n")
    words = ["--preset", "raw", "--decoder", "semantic_segment", "--labels", place / "names.txt"]
    source = write_detector(place / "net.onnx", {"y": y})
    document = ran(capsys, "run", source, place / "image.png", *words)
    land, sky = sorted(document["answers"][0]["results"], key=lambda one: one["name"])  # type: ignore
    assert (land["name"], land["area"], sky["name"], sky["area"]) == ("land", 96 * 128, "sky", 96 * 128)
    document = ran(capsys, "run", source, place / "in.avi", *words, "--video", place / "out.avi")
    assert document["names"] == {"sky": 4, "land": 4} and document["objects"] == {}
    assert "track" not in document["answers"][0]["results"][0]  # type: ignore
    numbers = np.full((1, 16, 24), 10**12)  # which is no class
    numbers[0, :4], numbers[0, 4:8] = 2, 7
    document = ran(capsys, "run", write_detector(place / "map.onnx", {"y": numbers}), place / "image.png", *words)
    assert [(one["name"], one["area"]) for one in document["answers"][0]["results"]] == [
        ("land", 32 * 192),
        ("7", 32 * 192),
    ]  # type: ignore
    assert "of class 7, and only 3" in document["notes"][0]  # type: ignore
    assert drawn(place / "out.avi")[32, 24, 1] > 90


@pytest.mark.parametrize(
    "outputs, metadata, words, said",
    [(lambda: {"y": pose()}, {}, ["--preset", "yolov8_segment"], "no decoder fits"), (masks, {}, ["--preset", "yolov8"], "no decoder fits"),
     (lambda: {"y": pose()}, {}, ["--task", "pose", "--decoder", "yolov8", "--letterbox"], "yolov8_pose"),
     (lambda: {"y": pose()}, {**PERSON, "kpt_shape": "[16, 3]"}, [], "no decoder fits"),
     (lambda: {"y": pose()}, {**PERSON, "kpt_shape": "17"}, [], "kpt_shape"),
     (masks, {**THINGS, "names": "['car']"}, [], "expected 2 names")],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(
    outputs: object,
    metadata: dict[str, str],
    words: list[str],
    said: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_detector(place / "net.onnx", outputs(), metadata=metadata)  # type: ignore
    assert said in refused(capsys, "run", source, place / "image.png", *words)


def test_a_preset_names_the_task(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_detector(place / "net.onnx", {"y": pose()})
    document = ran(capsys, "run", source, place / "image.png", "--preset", "yolov8_pose")
    assert document["task"] == "pose" and len(document["answers"][0]["results"][0]["keypoints"]) == 17  # type: ignore
    write_detector(source, {"y": np.delete(pose(), slice(7, None, 3), axis=1)})
    words = ["run", source, place / "image.png", "--preset", "yolov8_pose"]
    (one,) = ran(capsys, *words, "--keypoints", "17,2")["answers"][0]["results"]  # type: ignore
    assert one["keypoints"][:2] == [[60, 64], [64, 64]]
    assert "no decoder fits" in refused(capsys, *words, "--keypoints", "17,3")
    for wrong in ("17", "0,3", "17,4", "99999,3"):
        with pytest.raises(SystemExit):
            main([str(word) for word in (*words, "--keypoints", wrong)])
        assert "such as 17,3" in capsys.readouterr().err
