"""Networks that find things, from the command line: boxes in pixels of the image, and one line where they cannot be found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import alula
from alula.cli import main
from alula.runtime.artifact import open_artifact
from alula.runtime.artifact.task import task_of
from alula.runtime.errors import DataError
from tests.small_network import write_detector
from tests.test_classes import ran, refused

cv2 = pytest.importorskip("cv2")
NAMES = {"names": "{0: 'car', 1: 'dog', 2: 'bird'}", "imgsz": "[64, 96]", "stride": "32"}


def columns(*boxes: tuple[float, ...]) -> np.ndarray:
    """(1, 7, 126) as YOLOv8 gives: boxes of centre x, y, width, height, and three scores; the rest is empty."""
    y = np.zeros((1, 7, 126), np.float32)
    y[0, :, 5 : 5 + len(boxes)] = np.array(boxes).T
    return y


BOXES = columns(
    (48, 32, 24, 16, 0.0, 0.8, 0.3), (50, 32, 24, 16, 0.0, 0.7, 0.1), (50, 33, 24, 16, 0.6, 0.1, 0.1), (30, 20, 8, 8, 0.1, 0.2, 0.0)
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    (folder / "images").mkdir()
    for number, shape in enumerate([(200, 100, 3), (64, 96, 3), (30, 300, 3)]):
        image = np.random.default_rng(number).integers(0, 255, shape).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
    (folder / "names.txt").write_text("car\ndog\nbird\n")
    write_detector(folder / "net.onnx", {"y": BOXES}, metadata={**NAMES, "task": "detect"})
    write_detector(folder / "plain.onnx", {"y": BOXES})
    assert main(["pack", str(folder / "net.onnx"), "-o", str(folder / "net.alula")]) == 0
    return folder


def test_boxes_are_in_pixels_of_the_image(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = ran(capsys, "run", place / "net.alula", place / "images", "--out", place / "found.jsonl")
    lines = [json.loads(line) for line in (place / "found.jsonl").read_text().splitlines()]
    assert lines == document["answers"] and [line["image"] for line in lines] == ["0.png", "1.png", "2.png"]
    assert {line["task"] for line in lines} == {"detect"}
    for line, (height, width) in zip(lines, [(200, 100), (64, 96), (30, 300)], strict=True):
        assert [(one["class"], one["name"], one["score"]) for one in line["results"]] == [
            (1, "dog", 0.8),
            (0, "car", 0.6),
        ]
        rows, wide = round(height * min(64 / height, 96 / width)), round(width * min(64 / height, 96 / width))
        top, left = (64 - rows) // 2, (96 - wide) // 2
        corners = [
            (36 - left) * width / wide,
            (24 - top) * height / rows,
            (60 - left) * width / wide,
            (40 - top) * height / rows,
        ]
        assert line["results"][0]["box"] == pytest.approx(np.clip(corners, 0, [width, height] * 2), abs=0.01)
    assert document["boxes"] == 6 and document["names"] == {"dog": 3, "car": 3}
    found = alula.load(place / "net.alula").predict(place / "images" / "0.png")
    assert found.results() == lines[0]["results"] and (found.boxes.dtype, found.names) == (np.float32, ("dog", "car"))
    assert ran(capsys, "run", place / "net.onnx", place / "images")["answers"] == lines


def scores(document: dict[str, object]) -> list[float]:
    return [one["score"] for one in document["answers"][0]["results"]]  # type: ignore


def test_thresholds_and_classes_are_chosen(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", place / "net.alula", place / "images" / "1.png"]
    assert scores(ran(capsys, *words, "--conf", "0.1")) == [0.8, 0.6, 0.2]
    assert scores(ran(capsys, *words, "--conf", "0.65")) == [0.8]
    assert scores(ran(capsys, *words, "--iou", "1")) == [0.8, 0.7, 0.6]
    assert scores(ran(capsys, *words, "--agnostic")) == [0.8]
    assert scores(ran(capsys, *words, "--classes-only", "car,bird")) == [0.6]
    assert scores(ran(capsys, *words, "--classes-only", "bird")) == []
    model = alula.load(place / "net.alula")
    image = np.zeros((64, 96, 3), np.uint8)
    np.testing.assert_allclose(model.predict(image, conf=0.1, iou=1.0, only=["dog"]).scores, [0.8, 0.7, 0.2])
    assert len(model.predict(image, agnostic=True)) == 1


def test_a_video_has_its_boxes_drawn(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "in.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    for _ in range(4):
        writer.write(np.full((64, 96, 3), 60, np.uint8))
    writer.release()
    words = ["run", place / "net.alula", tmp_path / "in.avi", "--video", tmp_path / "out.avi", "--meter", "model",
             "--out", tmp_path / "found.jsonl"]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "4 frames" in said and "8 boxes, 2.0 per frame" in said and "J per frame" in said and "dog" in said
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [[(one["name"], one["track"]) for one in line["results"]] for line in lines] == [
        [("dog", 1), ("car", 2)]
    ] * 4
    good, image = cv2.VideoCapture(str(tmp_path / "out.avi")).read()
    assert good and image[24, 40, 1] > 150 and image[2, 90, 1] < 90  # the edge of a box is green
    assert main(["run", str(place / "net.alula"), str(place / "images" / "1.png")]) == 0
    assert "36.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "metadata, output, decoder",
    [({**NAMES, "task": "detect"}, BOXES, "yolov8"), (NAMES, np.zeros((1, 378, 8), np.float32), "yolov5"),
     ({**NAMES, "task": "detect"}, np.zeros((1, 30, 6), np.float32), "end_to_end"),
     ({**NAMES, "task": "detect", "imgsz": "[64]"}, BOXES, None), ({**NAMES, "task": "detect"}, np.zeros((1, 8, 126), np.float32), None),
     ({**NAMES, "task": "pose"}, BOXES, None), (NAMES, BOXES, None)],
)  # fmt: skip
def test_what_exporters_of_detectors_leave_is_read(
    metadata: dict[str, str], output: np.ndarray, decoder: str | None, tmp_path: Path
) -> None:
    source, packed = write_detector(tmp_path / "net.onnx", {"y": output}, metadata=metadata), tmp_path / "net.alula"
    assert main(["pack", str(source), "-o", str(packed)]) == 0
    task = task_of(open_artifact(packed).metadata, "net", "net")
    if decoder is None:
        assert task is None
        return
    assert task and (task.kind, task.decoder, task.classes) == ("detect", decoder, ("car", "dog", "bird"))
    assert task.preprocessing and (task.preprocessing.resize, task.preprocessing.size) == ("letterbox", (64, 96))


def test_what_is_told_is_kept_and_passed_on(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["--preset", "yolov8", "--labels", place / "names.txt", "--conf", "0.3", "--iou", "0.6"]
    steps = [("pack", place / "plain.onnx", "a.alula"), ("export", tmp_path / "a.alula", "a.onnx"),
             ("pack", tmp_path / "a.onnx", "b.alula")]  # fmt: skip
    for number, (command, source, target) in enumerate(steps):
        words = [command, source, "-o", tmp_path / target, *(() if number else told)]
        assert main([str(word) for word in words]) == 0
    capsys.readouterr()
    first, second = alula.load(tmp_path / "a.alula").task, alula.load(tmp_path / "b.alula").task
    assert first == second and first and (first.decoder, first.conf, first.iou) == ("yolov8", 0.3, 0.6)
    assert main(["info", str(tmp_path / "b.alula")]) == 0
    assert "detect 3 classes (car, dog, bird), decoder yolov8, conf 0.3, iou 0.6" in capsys.readouterr().out
    on_the_spot = ran(capsys, "run", place / "plain.onnx", place / "images", *told)
    assert ran(capsys, "run", tmp_path / "b.alula", place / "images")["answers"] == on_the_spot["answers"]


@pytest.mark.parametrize(
    "words, said",
    [(["--preset", "yolov5"], "--decoder yolov8 would fit"), (["--task", "detect", "--letterbox"], "--decoder yolov8 would fit"),
     (["--preset", "yolov8", "--labels", "two.txt"], "expected 3 names of classes"),
     (["--preset", "raw", "--conf", "0.5"], "add --task detect"),
     (["--preset", "yolov8", "--classes-only", "5x"], "got '5x'"), (["--preset", "yolov8", "--top", "3"], "its task is detect"),
     (["--decoder", "yolov8"], "--preset"), (["--preset", "yolov8", "--task", "classify"], "expected scores")],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(
    words: list[str], said: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two.txt").write_text("a\nb\n")
    words = [str(tmp_path / word) if word.endswith(".txt") else word for word in words]
    line = refused(capsys, "run", place / "plain.onnx", place / "images", "--out", tmp_path / "out.jsonl", *words)
    assert said in line and not (tmp_path / "out.jsonl").exists()


def test_options_of_boxes_mean_nothing_to_others(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "got the task 'detect'" in refused(capsys, "eval", place / "net.alula", "--data", place / "images")
    words = ["run", place / "plain.onnx", place / "images" / "1.png", "--preset", "raw", "--task", "arrays"]
    assert "--agnostic" in refused(capsys, *words, "--agnostic")
    ran(capsys, *words)


def write_suppressing(path: Path) -> Path:
    """A network that ends in NonMaxSuppression: boxes (K, 4), labels (K,), scores (K,), nothing for a black image."""
    helper, kind = onnx.helper, onnx.TensorProto
    boxes = np.array([[[10, 10, 30, 30], [11, 10, 31, 30], [40, 20, 60, 50]]], np.float32)
    values = {"boxes": boxes, "scores": np.array([[[0.9, 0.8, 0.1], [0.2, 0.1, 0.7]]], np.float32), "most": np.array([9]),
              "iou": np.array([0.5], np.float32), "least": np.array([0.3], np.float32), "two": np.array([2]), "one": np.array([1]),
              "big": np.array([1e6], np.float32), "flat": np.array([-1])}  # fmt: skip
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "big"], ["bright"]),
        helper.make_node("Clip", ["bright", "", "upper"], ["seen"]),
        helper.make_node("Mul", ["scores", "seen"], ["shown"]),
        helper.make_node("NonMaxSuppression", ["boxes", "shown", "most", "iou", "least"], ["kept"]),
        helper.make_node("Gather", ["kept", "two"], ["at"], axis=1),
        helper.make_node("Reshape", ["at", "flat"], ["rows"]),
        helper.make_node("Gather", ["kept", "one"], ["kinds"], axis=1),
        helper.make_node("Reshape", ["kinds", "flat"], ["labels"]),
        helper.make_node("Squeeze", ["boxes"], ["all"]),
        helper.make_node("Gather", ["all", "rows"], ["found"], axis=0),
        helper.make_node("GatherND", ["shown", "kept"], ["values"]),
    ]
    values["upper"] = np.array(1, np.float32)
    shapes = {"found": (kind.FLOAT, ["k", 4]), "labels": (kind.INT64, ["k"]), "values": (kind.FLOAT, ["k"])}
    graph = helper.make_graph(
        nodes, "suppressing", [helper.make_tensor_value_info("x", kind.FLOAT, [1, 3, 64, 96])],
        [helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_a_network_that_ends_in_suppression_runs_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, packed = write_suppressing(tmp_path / "net.onnx"), tmp_path / "net.alula"
    assert main(["pack", str(source), "-o", str(packed), "--decoder", "nms", "--stretch"]) == 0
    for name, value in (("bright", 200), ("black", 0)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((128, 96, 3), value, np.uint8))
    results = ran(capsys, "run", packed, tmp_path / "bright.png")["answers"][0]["results"]  # type: ignore
    assert [(one["class"], one["name"], one["score"]) for one in results] == [(0, "0", 0.9), (1, "1", 0.7)]
    assert [one["box"] for one in results] == [[10, 20, 30, 60], [40, 40, 60, 100]]
    assert ran(capsys, "run", packed, tmp_path / "black.png")["boxes"] == 0
    assert ran(capsys, "run", packed, tmp_path / "bright.png", "--classes-only", "1")["boxes"] == 1


@pytest.mark.parametrize(
    "args, decoder", [({}, "nms"), ({"args": "{'batch': 1, 'nms': True}"}, "end_to_end"), ({"args": "[]"}, "nms")]
)
def test_an_export_says_whether_it_suppresses(args: dict[str, str], decoder: str, tmp_path: Path) -> None:
    model = onnx.load(write_suppressing(tmp_path / "net.onnx"))
    onnx.helper.set_model_props(model, {**NAMES, "task": "detect", **args})
    onnx.save(model, tmp_path / "net.onnx")
    assert main(["pack", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "net.alula")]) == 0
    task = alula.load(tmp_path / "net.alula").task
    assert task and task.decoder == decoder


def test_classes_that_count_are_those_that_were_said(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "twice.txt").write_text("car\ncar\nbird\n")
    words = ["run", place / "plain.onnx", place / "images" / "1.png", "--preset", "yolov8"]
    assert scores(ran(capsys, *words, "--labels", tmp_path / "twice.txt", "--classes-only", "car")) == [0.8, 0.6]
    for number in ("3", "9" * 5000):
        assert "numbers from 0 to 2" in refused(capsys, *words, "--classes-only", number)
    with pytest.raises(SystemExit):
        main([str(word) for word in (*words, "--classes-only", ",")])
    assert "expected names of classes" in capsys.readouterr().err
    model, image = alula.load(place / "net.alula"), np.zeros((64, 96, 3), np.uint8)
    for options in ({"conf": float("nan")}, {"conf": 2}, {"iou": -1}, {"only": "car"}):
        with pytest.raises(DataError):
            model.predict(image, **options)  # type: ignore


INFINITE = columns((48, 32, 24, 16, 0.0, np.inf, 0.3), (20, 32, 24, 16, 0.0, 0.7, 0.1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "outputs, decoder, count",
    [({"y": INFINITE}, "yolov8", 1), ({"y": np.full((1, 377, 8), 1e30, np.float32)}, "yolov5", 0),
     ({"y": columns((48, 32, -24, 16, 0.0, 0.8, 0.3))}, "yolov8", 0),
     ({"y": np.array([[[1, 1, 9, 9, 0.9, kind] for kind in (1, 1e30, -1)]], np.float32)}, "end_to_end", 1),
     ({"n": np.array([[-1]], np.int32), "b": np.ones((1, 3, 4), np.float32), "s": np.ones((1, 3), np.float32) / 2,
       "l": np.zeros((1, 3), np.int32)}, "nms", 0),
     ({"b": np.ones((2, 4), np.float32), "s": np.ones(2, np.float32), "l": np.array([10**12, 3])}, "nms", 1)],
)  # fmt: skip
def test_outputs_that_are_no_boxes_give_none(
    outputs: dict[str, np.ndarray],
    decoder: str,
    count: int,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_detector(tmp_path / "odd.onnx", outputs)
    assert (
        len(scores(ran(capsys, "run", source, place / "images" / "1.png", "--stretch", "--decoder", decoder))) == count
    )


def test_a_preset_with_another_resize_contradicts_the_file(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed, image = tmp_path / "net.alula", place / "images" / "1.png"
    assert main(["pack", str(place / "plain.onnx"), "-o", str(packed), "--preset", "yolov8", "--corner"]) == 0
    assert "expected no preset" in refused(capsys, "run", packed, image, "--preset", "yolov8")
    assert "expected no preset" in refused(capsys, "run", packed, image, "--preset", "yolox", "--decoder", "yolov8")
    ran(capsys, "run", packed, image, "--preset", "yolov8", "--corner")
    ran(capsys, "run", packed, image, "--preset", "yolov8", "--letterbox")
    assert set(ran(capsys, "run", place / "net.alula", image, "--task", "arrays")["outputs"]) == {"y"}  # type: ignore
