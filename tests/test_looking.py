"""`alula run` on a source, whatever the task: what it writes, what it says, and what is left of a run that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from alula.cli import main
from alula.device.camera.source import Frame
from alula.device.tasks.annotate import AnnotatedVideo
from alula.device.tasks.classify import ClassWatch
from alula.runtime.errors import NoAnswerError
from alula.runtime.tasks.classify import Classification
from tests.small_network import write_detector
from tests.test_classes import ran, refused
from tests.test_detection import BOXES, NAMES, columns

cv2 = pytest.importorskip("cv2")
DETECT = {**NAMES, "task": "detect"}


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """Six frames of 64 x 96 at 12 a second; the third is black."""
    writer = cv2.VideoWriter(str(tmp_path / "in.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 12, (96, 64))
    for number in range(6):
        writer.write(np.full((64, 96, 3), 0 if number == 2 else 60, np.uint8))
    writer.release()
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 96, 3), 60, np.uint8))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((64, 96, 3), np.uint8))
    return tmp_path


def test_a_video_of_some_of_the_frames_plays_at_real_speed(flight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_detector(flight / "net.onnx", {"y": BOXES}, metadata=DETECT)
    document = ran(
        capsys, "run", source, flight / "in.avi", "--every", "3", "--video", flight / "out.avi", "--no-tracks"
    )
    capture = cv2.VideoCapture(str(flight / "out.avi"))
    assert (capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)) == (4, 2)
    assert document["objects"] == {} and all("track" not in one for one in document["answers"][0]["results"])  # type: ignore


def test_frames_that_a_camera_lost_do_not_hurry_the_video(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "out.avi", 10.0, live=True) as video:
        for index, time_s in enumerate((5.0, 5.5, 5.6, 6.0)):
            video.watch_lines(Frame(np.zeros((64, 96, 3), np.uint8), index, time_s, 0.0), [])
    assert video.frames == 11 and cv2.VideoCapture(str(tmp_path / "out.avi")).get(cv2.CAP_PROP_FRAME_COUNT) == 11


def test_nothing_is_left_of_a_run_that_is_refused(flight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = columns((48, 32, 24, 16, 0.0, 8.0, 0.3))
    source = write_detector(flight / "wild.onnx", {"y": wild}, metadata=DETECT)
    (flight / "old.json").write_text("before")
    before = {path: path.read_bytes() for path in flight.iterdir()}
    for name in ("old.json", "new.json"):
        line = refused(capsys, "run", source, flight / "in.avi", "--conf", "0.5", "--energy", flight / name, "--meter", "model",
                       "--out", flight / "out.jsonl", "--video", flight / "out.mp4")  # fmt: skip
        assert "expected scores from 0 to 1, got 8" in line and "sigmoid" in line and "yolov8" in line
        assert {path: path.read_bytes() for path in flight.iterdir()} == before
    whole = write_detector(flight / "net.onnx", {"y": BOXES}, metadata=DETECT)
    ran(capsys, "run", whole, flight / "in.avi", "--energy", flight / "old.json", "--meter", "model")
    assert {path.name for path in flight.iterdir()} - {path.name for path in before} == {"net.onnx", "old.csv"}
    assert "energy" in (flight / "old.json").read_text()


@pytest.mark.parametrize("decoder", ["end_to_end", "nms"])
def test_a_class_without_a_name_is_said_once(decoder: str, flight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = [1, 1, 9, 9, 0.9, 7] if decoder == "end_to_end" else [0, 1, 1, 9, 9, 7, 0.9]
    output = np.array([[row]] if decoder == "end_to_end" else [row], np.float32)
    source = write_detector(flight / "net.onnx", {"y": output})
    (flight / "names.txt").write_text("car\ndog\n")
    words = ["run", source, flight / "in.avi", "--decoder", decoder, "--stretch", "--labels", flight / "names.txt"]
    document = ran(capsys, *words)
    (note,) = document["notes"]  # type: ignore
    assert "net.onnx: a box is of class 7, and only 2 classes have names" in note and "--labels" in note
    assert main([str(word) for word in words]) == 0 and capsys.readouterr().out.count("is of class 7") == 1


def test_names_with_commas_are_quoted(flight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_detector(
        flight / "net.onnx", {"y": BOXES}, metadata={**DETECT, "names": "['car, red', 'dog', 'a \"b\"']"}
    )
    words = ["run", source, flight / "grey.png"]
    for more, found in ((['"car, red",dog'], ["dog", "car, red"]), (['"car, red"'], ["car, red"]),
                        (["dog", '"car, red"'], ["dog", "car, red"]),
                        (['"a ""b"""'], [])):  # fmt: skip
        options = [word for one in more for word in ("--classes-only", one)]
        assert [one["name"] for one in ran(capsys, *words, *options)["answers"][0]["results"]] == found  # type: ignore
    assert "got 'red'" in refused(capsys, *words, "--classes-only", "red")


def write_dividing(path: Path, metadata: dict[str, str]) -> Path:
    """A classifier of two classes that divides by the mean of the image: nothing finite for a black one."""
    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["column"]),
        helper.make_node("Mul", ["column", "weights"], ["scores"]),
        helper.make_node("Div", ["scores", "column"], ["y"]),
    ]
    values = {"shape": np.array([1, 1]), "weights": np.array([[1, 2]], np.float32)}
    graph = helper.make_graph(
        nodes, "dividing", [helper.make_tensor_value_info("x", kind.FLOAT, [1, 3, 64, 96])],
        [helper.make_tensor_value_info("y", kind.FLOAT, [1, 2])],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


def test_a_frame_without_an_answer_does_not_end_a_run(flight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_dividing(flight / "net.onnx", {"names": "{0: 'a', 1: 'b'}", "imgsz": "[64, 96]"})
    document = ran(capsys, "run", source, flight / "in.avi", "--video", flight / "out.avi")
    said = [[one["name"] for one in answer["results"]] for answer in document["answers"]]  # type: ignore
    assert said == [["b", "a"]] * 2 + [[]] + [["b", "a"]] * 3
    assert (document["unanswered"], document["best"], document["frames"]) == (1, {"b": 5}, 6)
    (flight / "two").mkdir()
    for name in ("black.png", "grey.png"):
        (flight / name).rename(flight / "two" / name)
    assert main(["run", str(source), str(flight / "two")]) == 0
    assert "1 of 2 images without an answer" in capsys.readouterr().out
    assert "expected finite scores" in refused(capsys, "run", source, flight / "two" / "black.png")
    ran(capsys, "run", source, flight / "two" / "grey.png")


def test_smoothing_goes_on_after_a_frame_without_an_answer() -> None:
    class Script:
        def __init__(self) -> None:
            self.shares = iter([[1.0, 0.0], None, [0.0, 1.0]])

        def __call__(self, image: np.ndarray) -> np.ndarray:
            shares = next(self.shares)
            if shares is None:
                raise NoAnswerError("net: nothing")
            return np.array(shares)

        def answer(self, shares: np.ndarray, top: int) -> object:
            return Classification(("a", "b"), tuple(shares), (0, 1), shares)

    class Frames:
        name, sequence, live = "script", True, False

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[Frame]:
            yield from (Frame(np.zeros((2, 2, 3), np.uint8), index, index / 10, 0.0) for index in range(3))

    watch = ClassWatch(Script())  # type: ignore
    seen = [one.answer.probabilities for one in watch.run(Frames())]  # type: ignore
    assert seen[1] == () and 0 < seen[2][1] < 0.5 and (watch.unanswered, watch.why) == (1, "net: nothing")


def test_what_was_left_out_of_an_exporters_words_is_said(flight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = {**DETECT, "names": "{0: 'car', 1: 'dog'}"}
    source = write_detector(flight / "net.onnx", {"y": BOXES}, metadata=two)
    line = refused(capsys, "run", source, flight / "grey.png")
    assert "expected 3 names" in line and "--preset" in line
    assert "expected 3 names" in refused(capsys, "eval", source, "--data", flight)
    (note,) = ran(capsys, "run", source, flight / "grey.png", "--preset", "yolov8")["notes"]  # type: ignore
    assert "is left out" in note
