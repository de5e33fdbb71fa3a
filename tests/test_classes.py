"""Networks that tell classes apart, from the command line: what was trained is what runs, and one line where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import alula
from alula.cli import main
from alula.host.ort import OrtModel
from alula.runtime.artifact import open_artifact
from alula.runtime.artifact.task import Task, parse_task, task_of
from alula.runtime.data.decoder import open_image
from alula.runtime.errors import DataError
from tests.small_network import write_network

cv2 = pytest.importorskip("cv2")


def write_images(folder: Path, classes: dict[str, int], count: int, seed: int, suffix: str = ".jpg") -> None:
    """Noise that is brighter in one channel (blue green red), of odd sizes."""
    rng = np.random.default_rng(seed)
    for name, channel in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = rng.integers(0, 200, (17 + number, 23, 3)).astype(np.uint8)
            image[:, :, channel] = np.minimum(image[:, :, channel] + rng.integers(0, 90), 255)
            cv2.imwrite(str(folder / name / f"{number}{suffix}"), image)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    write_images(folder / "train", {"blue": 0, "red": 2}, 12, 0)
    write_images(folder / "test", {"blue": 0, "red": 2}, 8, 1)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    path = data / "net.alula"
    onnx_file = write_network(data / "small.onnx")
    words = ["train", onnx_file, "--data", data, "--epochs", 2, "--batch", 8, "--lr", 0.05, "--threads", 1, "-o", path,
             "--log", data / "log.jsonl"]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) <= 300, said
    return said


def ran(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    capsys.readouterr()
    assert main([str(word) for word in (*words, "--json")]) == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def names(document: dict[str, object]) -> dict[str, str]:
    return {answer["image"]: answer["results"][0]["name"] for answer in document["answers"]}  # type: ignore


def test_what_was_trained_is_what_runs(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = alula.load(trained, threads=1)
    assert model.task and model.task.classes == ("blue", "red") and model.task.preprocessing
    back = tmp_path / "back.onnx"
    assert main(["export", str(trained), "-o", str(back)]) == 0
    assert main(["pack", str(back), "-o", str(tmp_path / "again.alula")]) == 0
    again = alula.load(tmp_path / "again.alula", threads=1)
    assert again.task == model.task
    session, how = OrtModel(back, 1), model.task.preprocessing
    for colour in ("blue", "red"):
        folder = data / "test" / colour
        ours = names(ran(capsys, "run", trained, folder, "--out", tmp_path / "answers.jsonl"))
        lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
        assert {line["image"]: line["results"][0]["name"] for line in lines} == ours and len(lines) == 8
        assert {line["task"] for line in lines} == {"classify"}
        assert names(ran(capsys, "run", back, folder)) == ours
        for path in sorted(folder.iterdir()):
            scores = session({"x": how(open_image(path, 3))})["y"][0]
            answer = model.predict(path)
            assert ("blue", "red")[int(scores.argmax())] == answer.name == ours[path.name]
            np.testing.assert_array_equal(model.predict(cv2.imread(str(path))).all, answer.all)
            assert again.predict(str(path)).name == answer.name
    assert "sees images as rgb, 8x9, stretch" in (main(["info", str(trained)]), capsys.readouterr().out)[1]


def test_a_single_image_names_the_best_classes(trained: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "test" / "red" / "0.jpg"
    assert main(["run", str(trained), str(path), "--top", "2", "--meter", "model"]) == 0
    said = capsys.readouterr().out
    assert "name" in said and "red" in said and "blue" in said and "J per frame" in said
    document = ran(capsys, "run", trained, path, "--top", "1", "--meter", "model,idle=2,full=6")
    energy = document["energy"]
    assert energy["energy_j"] >= 1.99 * energy["duration_s"] > 0, "it is shorter than the time between two readings"  # type: ignore
    (answer,) = document["answers"]  # type: ignore
    assert len(answer["results"]) == 1 and set(answer["results"][0]) == {"class", "name", "probability"}


def test_a_file_that_says_nothing_needs_to_be_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed, image = tmp_path / "plain.alula", data / "test" / "red" / "0.jpg"
    source = write_network(tmp_path / "plain.onnx", softmax=True)
    assert main(["pack", str(source), "-o", str(packed)]) == 0
    for word in ("--preset imagenet", "--mean", "--std", "--bgr", "--letterbox"):
        assert word in refused(capsys, "run", packed, image)
    assert "--preset" in refused(capsys, "verify", packed, "--against", source, "--input", image)
    (tmp_path / "labels.txt").write_text("blue\nred\n")
    told = ["--mean", "0.4", "--std", "0.2", "--bgr", "--labels", tmp_path / "labels.txt"]
    on_the_spot = ran(capsys, "run", packed, image, *told)
    assert main([str(word) for word in ("pack", source, "-o", tmp_path / "told.alula", *told)]) == 0
    assert ran(capsys, "run", tmp_path / "told.alula", image)["answers"] == on_the_spot["answers"]
    results = on_the_spot["answers"][0]["results"]  # type: ignore
    assert sum(one["probability"] for one in results) == pytest.approx(1, abs=1e-5)  # no second softmax
    assert main(["verify", str(tmp_path / "told.alula"), "--against", str(source), "--input", str(image)]) == 0
    arrays = ran(capsys, "run", packed, image, "--preset", "raw", "--task", "arrays")
    assert set(arrays["outputs"]) == {"y"}  # type: ignore


@pytest.mark.parametrize(
    "words, said",
    [(["--labels", "three.txt"], "expected 2 names"), (["--preset", "imagenet"], "contradict"), (["--size", "9,9"], "leave the size out"),
     (["--labels", "holes.json"], "classes 0 to 1"), (["--labels", "empty.txt"], "class 0")],
)  # fmt: skip
def test_what_does_not_fit_a_file_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "holes.json").write_text('{"0": "a", "2": "b"}')
    (tmp_path / "empty.txt").write_text("\n\n")
    metadata = {"id2label": '{"0": "a", "1": "b"}', "preprocessor_config": '{"image_mean": [0.5], "image_std": [0.5]}'}
    source = write_network(tmp_path / "net.onnx", metadata=metadata)
    words = [str(tmp_path / word) if word.endswith((".txt", ".json")) else word for word in words]
    line = refused(capsys, "pack", source, "-o", tmp_path / "out.alula", *words)
    assert (said if said != "contradict" else "expected no preset") in line and not (tmp_path / "out.alula").exists()


def test_a_task_of_a_newer_version_is_named(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from alula.runtime.artifact import rewrite_metadata

    artifact = open_artifact(trained)
    (graph,) = artifact.graphs
    task = {**artifact.metadata["task"][graph], "charset": "abc"}
    rewrite_metadata(artifact, tmp_path / "new.alula", {**artifact.metadata, "task": {graph: task}})
    for command in (["info"], ["run"], ["export"]):
        more = {"run": ["x.png"], "export": ["-o", str(tmp_path / "x.onnx")]}.get(command[0], [])
        assert "'charset' too; it is of a newer version" in refused(capsys, *command, tmp_path / "new.alula", *more)


@pytest.mark.parametrize(
    "metadata, classes, resize",
    [({"names": "{0: 'a', 1: 'b'}", "imgsz": "[8, 9]", "task": "classify"}, ("a", "b"), "crop"),
     ({"id2label": '{"0": "a", "1": "b"}'}, ("a", "b"), None), ({"labels": "a\nb"}, ("a", "b"), None),
     ({"pretrained_cfg": json.dumps({"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 8, 9], "crop_pct": 0.9})}, (), "crop"),
     ({"preprocessor_config": json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": [8, 9]})}, (), "stretch"),
     ({"names": "{0: 'a'}", "task": "detect"}, None, None), ({"classes": "a\nb\nc"}, None, None), ({"author": "me"}, None, None),
     ({"config": "net.yaml"}, None, None), ({"names": "a, b", "pretrained_cfg": "[]"}, None, None),
     ({"pretrained_cfg": '{"mean": "none", "std": [1]}'}, None, None), ({"id2label": '{"a": 1}'}, None, None)],
)  # fmt: skip
def test_what_exporters_leave_is_read(
    metadata: dict[str, str], classes: tuple[str, ...] | None, resize: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "net.alula"
    assert main(["pack", str(write_network(tmp_path / "net.onnx", metadata=metadata)), "-o", str(path)]) == 0
    task = task_of(open_artifact(path).metadata, "net", "net")
    if classes is None:
        assert task is None
    else:
        assert task and task.classes == classes and (task.preprocessing and task.preprocessing.resize) == resize


@pytest.mark.parametrize("head", ["Gemm", "MatMul", "Conv"])
def test_other_classes_need_a_word_and_get_a_fresh_head(
    head: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_network(tmp_path / "five.onnx", 5, head=head, softmax=head != "Gemm")
    words = ["train", source, "--data", data, "--epochs", 1, "--batch", 8, "--threads", 1, "-o", tmp_path / "new.alula"]
    said = refused(capsys, *words)
    assert "--head new" in said and "--head keep" in said and not (tmp_path / "new.alula").exists()
    document = ran(capsys, *words, "--head", "new", "--update", "last:1")
    assert set(document["update"]) == {"head.weight", "head.bias"} and "fresh head" in document["notes"][0]  # type: ignore
    model = alula.load(tmp_path / "new.alula", threads=1)
    assert model.task and model.task.classes == ("blue", "red")
    assert model.predict(data / "test" / "red" / "0.jpg").all.shape == (2,)
    document = ran(capsys, *words, "--head", "keep")
    assert document["classes"] == ["blue", "red", "2", "3", "4"]


def test_training_takes_what_a_model_was_trained_with(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_network(tmp_path / "net.onnx"), tmp_path / "net.alula"
    words = ["train", source, "--data", data, "--epochs", 1, "--batch", 8, "--threads", 1, "-o", out]
    ran(capsys, *words, "--preset", "caffe", "--letterbox")
    how = task_of(open_artifact(out).metadata, "small", "net").preprocessing  # type: ignore
    assert (how.colour, how.resize, how.scale, how.mean[0], how.size) == ("bgr", "letterbox", 1.0, 103.939, (8, 9))
    ran(capsys, *words, "--crop", "0.9")
    how = task_of(open_artifact(out).metadata, "small", "net").preprocessing  # type: ignore
    assert (how.colour, how.resize, how.crop) == ("rgb", "crop", 0.9) and len(how.mean) == 3  # of the data
    assert "--raw" in refused(capsys, *words, "--preset", "raw", "--raw")


def test_labels_follow_the_names_of_the_classes(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "data", {"cyan": 0, "red": 2}, 4, 0)
    words = ["train", trained, "--data", tmp_path / "data", "--epochs", 1, "--batch", 4, "--threads", 1]
    assert "expected 2 classes (blue, red), got 2 in the data (cyan, red)" in refused(capsys, *words)
    assert "--raw" in refused(capsys, *words, "--raw", "--head", "new")
    write_images(tmp_path / "four", {"a": 0, "blue": 0, "red": 2, "b": 1}, 4, 0)
    four = tmp_path / "four.alula"
    assert main([str(word) for word in (*words[:3], tmp_path / "four", *words[4:], "--head", "new", "-o", four)]) == 0
    write_images(tmp_path / "some", {"blue": 0, "red": 2}, 4, 0)
    document = ran(capsys, "train", four, *words[2:3], tmp_path / "some", *words[4:])
    assert document["classes"] == ["a", "b", "blue", "red"] and "2 of the network's 4" in document["notes"][0]  # type: ignore


def test_a_head_that_cannot_be_found_is_described(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(write_network(tmp_path / "net.onnx", 5))
    model.graph.node[-1].output[0] = "g"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "axis"))
    model.graph.node.append(onnx.helper.make_node("CumSum", ["g", "axis"], ["y"]))
    onnx.save(model, str(tmp_path / "net.onnx"))
    said = refused(capsys, "train", tmp_path / "net.onnx", "--data", data, "--batch", 8, "--head", "new")
    assert "expected a head of 5 outputs" in said and "y (CumSum)" in said


def test_a_video_is_smoothed_and_drawn(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "in.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for frame in range(8):
        image = np.full((48, 64, 3), 60, np.uint8)
        image[:, :, 0 if frame == 4 else 2] = 220  # one blue frame among red ones
        writer.write(image)
    writer.release()
    document = ran(capsys, "run", trained, tmp_path / "in.avi", "--video", tmp_path / "out.avi", "--energy",
                   tmp_path / "energy.json", "--meter", "model")  # fmt: skip
    assert document["frames"] == 8 and document["best"] == {"red": 8}
    assert json.loads((tmp_path / "energy.json").read_text())["counters"]["frame"]["count"] == 8
    drawn = cv2.VideoCapture(str(tmp_path / "out.avi"))
    assert int(drawn.get(cv2.CAP_PROP_FRAME_COUNT)) == 8


def test_evaluation_counts_what_run_says(trained: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = ran(capsys, "eval", trained, "--data", data, "--meter", "model,idle=2,full=6")
    assert document["energy"]["counters"]["image"]["each_j"] > 0 and document["energy"]["accuracy"] == "modelled"  # type: ignore
    said = {name: names(ran(capsys, "run", trained, data / "test" / name)) for name in ("blue", "red")}
    counts = [[sum(one == other for one in said[name].values()) for other in said] for name in said]
    assert document["confusion"] == counts and document["samples"] == 16
    assert document["accuracy"] == (counts[0][0] + counts[1][1]) / 16
    wrong = {(name, image) for name, answers in said.items() for image, answer in answers.items() if answer != name}
    assert {(one["label"], one["image"]) for one in document["worst"]} == set(list(wrong)[:10])  # type: ignore
    last = json.loads((data / "log.jsonl").read_text().splitlines()[-1])["test_classes"]
    assert last["confusion"] == counts and [row["name"] for row in last["classes"]] == ["blue", "red"]
    assert main(["eval", str(trained), "--data", str(data / "test")]) == 0  # a folder of classes alone
    shown = capsys.readouterr().out
    assert f"{counts[0][0] + counts[1][1]} of 16 right" in shown and "recall" in shown


def test_an_evaluation_that_cannot_be_is_one_line(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "cyan", {"cyan": 0, "red": 2}, 2, 0)
    assert "got 2 in the data (cyan, red)" in refused(capsys, "eval", trained, "--data", tmp_path / "cyan")
    assert "--preset" in refused(capsys, "eval", data / "small.onnx", "--data", data)
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 8, 9, 3), np.float32), y=np.arange(4) % 2)
    assert "in bytes" in refused(capsys, "eval", trained, "--data", tmp_path / "x.npz")
    write_images(tmp_path / "uneven", {"blue": 0}, 6, 0)
    write_images(tmp_path / "uneven", {"red": 2}, 2, 0)
    assert main(["eval", str(trained), "--data", str(tmp_path / "uneven")]) == 0
    assert "uneven classes: 6 samples of blue, 2 of red" in capsys.readouterr().out


def test_export_and_task_text_are_the_same(trained: Path) -> None:
    artifact = open_artifact(trained)
    (graph,) = artifact.graphs
    task = task_of(artifact.metadata, graph, "net")
    assert isinstance(task, Task) and parse_task(task.text(), "net") == task


def write_scores(path: Path, columns: int, dividend: float) -> Path:
    """A network of images that gives dividend / 0 as every score."""
    helper, numbers = onnx.helper, onnx.numpy_helper.from_array
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], keepdims=0), helper.make_node("Mul", ["m", "nothing"], ["zero"]),
             helper.make_node("Add", ["zero", "above"], ["a"]), helper.make_node("Div", ["a", "zero"], ["y"])]  # fmt: skip
    weights = [numbers(np.float32(0), "nothing"), numbers(np.full((1, columns), dividend, np.float32), "above")]
    ends = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", [1, 3, 8, 9]), ("y", [1, columns]))]
    graph = helper.make_graph(nodes, "scores", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.mark.filterwarnings("error")
def test_scores_that_are_no_numbers_are_no_answer(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = data / "test" / "red" / "0.jpg"
    for columns, dividend, said in (
        (3, 0.0, "got [nan nan nan]"),
        (2, 1.0, "got [inf inf]"),
        (0, 0.0, "expected scores (1, C)"),
    ):
        net = write_scores(tmp_path / "net.onnx", columns, dividend)
        words = ["run", net, image, "--preset", "raw", "--task", "classify", "--out", tmp_path / "out.jsonl"]
        assert said in refused(capsys, *words) and not (tmp_path / "out.jsonl").exists()
    with pytest.raises(DataError):
        alula.load(trained).predict(image, top=0)


def test_tasks_in_the_metadata_are_read_before_they_are_packed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.json").write_text('[["a"], {}]')
    words = ["pack", data / "small.onnx", "-o", tmp_path / "net.alula"]
    assert "expected texts" in refused(capsys, *words, "--labels", tmp_path / "labels.json")
    for task, said in (({"small": {"kind": "?"}}, "expected version 1"), ({"other": {}}, "got one of 'other'")):
        (tmp_path / "more.json").write_text(json.dumps({"task": task}))
        assert said in refused(capsys, *words, "--metadata", tmp_path / "more.json")
    assert "expected a file" in refused(capsys, *words, "--metadata", tmp_path / "none.json")
    assert not (tmp_path / "net.alula").exists()
