"""From scores to named probabilities, and how often they are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alula.host.onnx.importer import import_onnx
from alula.runtime.artifact.task import Task
from alula.runtime.data import ArraySet, Preprocessing
from alula.runtime.errors import DataError, GraphError, SourceError
from alula.runtime.graph import Graph
from alula.runtime.passes import optimise
from alula.runtime.tasks.classify import Classifier, kind_of_scores, probabilities
from alula.runtime.tasks.evaluate import Tally, evaluate_set, tell_imbalance
from alula.runtime.tasks.labels import read_labels
from alula.runtime.tasks.presets import PRESETS, preset
from tests.host.onnx_models import model, node


def network(*ends: str, classes: int = 3) -> Graph:
    """The mean of each of three channels, and other ops behind."""
    names = ["m", *(f"e{number}" for number in range(len(ends)))]
    names[-1] = "y"
    nodes = [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", names[0])]
    nodes += [node(op, name, out) for op, name, out in zip(ends, names, names[1:], strict=False)]
    made = model(nodes, {"x": np.zeros((1, classes, 4, 4), np.float32)}, shapes={"x": ["n", classes, 4, 4]})
    return optimise(import_onnx(made).graph)


@pytest.mark.parametrize(
    "ends, kind",
    [((), "scores"), (("Relu",), "scores"), (("Softmax",), "probabilities"), (("Softmax", "Identity"), "probabilities"),
     (("Sigmoid",), "probabilities"), (("LogSoftmax",), "logarithms"), (("Softmax", "Relu"), "scores")],
)  # fmt: skip
def test_a_softmax_is_applied_once(ends: tuple[str, ...], kind: str) -> None:
    assert kind_of_scores(network(*ends)) == kind


def test_probabilities_are_those_of_torch() -> None:
    scores = np.array([1000.0, 1001.0, -1000.0])
    shares = probabilities(scores)
    np.testing.assert_allclose(shares, [0.26894142, 0.73105858, 0.0], atol=1e-8)
    np.testing.assert_allclose(probabilities(np.log(shares[:2]), "logarithms"), shares[:2])


def scored(answers: dict[str, np.ndarray]) -> Classifier:
    """A network whose scores are given."""
    task = Task("classify", ("a", "b", "c"), Preprocessing(scale=1.0))
    return Classifier(lambda inputs: answers, network(), task, "net")


def test_equal_classes_come_in_the_order_of_the_outputs() -> None:
    classifier = scored({"y": np.array([[[[2.0]], [[3.0]], [[3.0]]]], np.float32)})
    answer = classifier.answer(classifier(np.zeros((4, 4, 3), np.uint8)), 2)
    assert answer.names == ("b", "c") and answer.places == (1, 2) and answer.all.sum() == pytest.approx(1)
    assert answer.results()[0] == {"class": 1, "name": "b", "probability": round(answer.probability, 6)}


def test_a_network_of_something_else_is_refused() -> None:
    graph, how = network(), Preprocessing()
    for task, said in (
        (Task("classify", ("a",), how), "expected 3 names"), (Task("classify"), "--preset imagenet"), (Task("arrays"), "'arrays'"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=rf"^net: expected .*{said}|{said}"):
            Classifier(lambda inputs: {}, graph, task, "net")
    image = import_onnx(model([node("Relu", "x", "y")], {"x": np.zeros((1, 3, 4, 4), np.float32)})).graph
    with pytest.raises(GraphError, match=r"expected scores \(1, C\) .*--task arrays"):
        Classifier(lambda inputs: {}, image, Task(preprocessing=how), "net")


def test_a_tally_knows_classes_and_the_worst() -> None:
    tally = Tally(3)
    for sample, (label, shares) in enumerate(
        [(0, (0.7, 0.2, 0.1)), (0, (0.1, 0.8, 0.1)), (1, (0.45, 0.3, 0.25)), (1, (0.1, 0.9, 0.0))]
    ):
        tally.add(sample, label, np.array(shares))
    assert (
        tally.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]] and tally.accuracy == 0.5 and tally.samples == 4
    )
    assert [one.sample for one in tally.worst()] == [1, 2]
    document = tally.document(("a", "b", "c"), ("0.jpg", "1.jpg", "2.jpg", "3.jpg"))
    assert document["worst"][0] == {
        "sample": 1,
        "image": "1.jpg",
        "label": "a",
        "own": 0.1,
        "seen_as": "b",
        "probability": 0.8,
    }
    assert [(row["name"], row["recall"], row["precision"]) for row in document["classes"]] == [
        ("a", 0.5, 0.5),
        ("b", 0.5, 0.5),
    ]
    assert document["loss"] == pytest.approx(-np.log([0.7, 0.1, 0.3, 0.9]).mean())


def test_a_set_is_evaluated_image_by_image() -> None:
    x = np.zeros((4, 4, 4, 3), np.uint8)
    data = ArraySet("set", x, np.array([1, 1, 1, 0]), ("a", "b", "c"))
    tally = evaluate_set(scored({"y": np.array([[0.0, 5.0, 1.0]], np.float32)}), data, 3)
    assert tally.accuracy == 0.75 and tell_imbalance(data) == "uneven classes: 3 samples of b, 1 of a"
    with pytest.raises(DataError, match="4x4 in bytes"):
        evaluate_set(scored({}), ArraySet("set", x[:, :3], np.zeros(4, np.int64)), 3)


def test_labels_are_read_as_people_and_programs_write_them(tmp_path: Path) -> None:
    for name, text in (
        ("a.txt", "a\nb c\n\n"), ("b.txt", "\ufeffa\r\nb c\r\n"), ("c.json", '["a", "b c"]'), ("d.json", '{"1": "b c", "0": "a"}'),
        ("e.json", '{"id2label": {"0": "a", "1": "b c"}, "other": 1}'),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(text.encode())
        assert read_labels(tmp_path / name) == ("a", "b c"), name
    for name, content, error in (
        ("f.json", b"{\"a\": 1}", DataError), ("g.json", b"[1", SourceError), ("h.txt", b"\xff\xfe", SourceError),
        ("i.txt", b"", DataError),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=name):
            read_labels(tmp_path / name)
    with pytest.raises(SourceError, match="a folder"):
        read_labels(tmp_path)


def test_presets_are_known_by_name() -> None:
    low, high = (preset("inception").normalise(np.full((1, 1, 3), value, np.uint8)).max() for value in (0, 255))
    assert (low, high) == (-1, 1) and all(preset(name) for name in PRESETS)
    with pytest.raises(DataError, match="imagenet, inception, caffe, raw"):
        preset("yolo")
