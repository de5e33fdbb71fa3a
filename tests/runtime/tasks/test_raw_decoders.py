"""Detectors whose export ends early: grids before the sigmoid, and what NonMaxSuppression selected beside all boxes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from alula.runtime.errors import AlulaError
from alula.runtime.tasks.decoders import yolov5_raw, yolov7_raw
from alula.runtime.tasks.decoding import Outputs, fit_decoder
from tests.small_network import write_detector
from tests.test_classes import ran

SIZE, C = (64, 96), 4
Box = tuple[list[float], float, int]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def grids(strides: tuple[int, ...], anchors: int = 3, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.normal(0, 3, (1, anchors, -(-SIZE[0] // s), -(-SIZE[1] // s), 5 + C)).astype(np.float32) for s in strides
    ]


def read(arrays: list[np.ndarray], strides: tuple[int, ...], anchors: tuple[float, ...], conf: float) -> list[Box]:
    """One box after the other."""
    boxes, sizes = [], np.array(anchors).reshape(len(strides), -1, 2)
    for array, stride, own in zip(arrays, strides, sizes, strict=True):
        for a, row, column in np.ndindex(*array.shape[1:4]):
            x, y, w, h, thing, *kinds = (sigmoid(float(value)) for value in array[0, a, row, column])
            score = thing * max(kinds)
            if score > conf:
                cx, cy = (2 * x - 0.5 + column) * stride, (2 * y - 0.5 + row) * stride
                wide, high = (2 * w) ** 2 * own[a, 0], (2 * h) ** 2 * own[a, 1]
                boxes.append(
                    ([cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2], score, kinds.index(max(kinds)))
                )
    return boxes


def as_channels(array: np.ndarray) -> np.ndarray:
    """(1, A, h, w, E) as (1, A * E, h, w)."""
    return np.ascontiguousarray(array.transpose(0, 1, 4, 2, 3).reshape(1, -1, *array.shape[2:4]))


def outputs_of(arrays: list[np.ndarray], classes: int = C, **more: object) -> Outputs:
    return Outputs(tuple(a.shape for a in arrays), tuple(a.dtype.name for a in arrays), SIZE, classes, **more)  # type: ignore


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("strides", [(8, 16, 32), (8, 16, 32, 64)])
@pytest.mark.parametrize("name", ["yolov5_raw", "yolov7_raw", "own anchors"])
def test_raw_grids_are_read_as_one_box_after_the_other(name: str, strides: tuple[int, ...], channels: bool) -> None:
    own = tuple(float(side) for side in range(5, 5 + 4 * len(strides))) if name == "own anchors" else ()
    known = yolov7_raw.COCO if name == "yolov7_raw" else yolov5_raw.COCO
    plain = grids(strides, 2 if own else 3)
    arrays = [as_channels(array) for array in plain] if channels else plain
    for order in (list(range(len(strides))), list(range(len(strides)))[::-1]):
        some = [arrays[place] for place in order]
        fit = fit_decoder("yolov7_raw" if name == "yolov7_raw" else "yolov5_raw", outputs_of(some, anchors=own), "net")
        found = fit.decode(some, 0.3)
        found = found.at(np.flatnonzero(found.scores > 0.3))
        expected = read(plain, strides, own or known[len(strides)], 0.3)
        assert fit.classes == C and len(expected) > 20 and len(found.scores) == len(expected)
        np.testing.assert_allclose(found.boxes, np.array([box for box, _, _ in expected]), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found.scores, [score for _, score, _ in expected], rtol=1e-5)
        assert found.classes.tolist() == [kind for _, _, kind in expected]


def test_grids_after_their_sigmoid_are_taken_as_they_are() -> None:
    arrays = grids((8, 16, 32))
    ended = [(1 / (1 + np.exp(-array))).astype(np.float32) for array in arrays]
    one = fit_decoder("yolov5_raw", outputs_of(arrays), "net").decode(arrays, 0.4)
    two = fit_decoder("yolov5_raw", outputs_of(ended, ends=("Sigmoid",) * 3), "net").decode(ended, 0.4)
    rows = np.flatnonzero(one.scores > 0.4)
    np.testing.assert_allclose(one.at(rows).boxes, two.at(np.flatnonzero(two.scores > 0.4)).boxes, rtol=1e-4, atol=1e-3)


def test_what_does_not_fit_is_refused() -> None:
    arrays = grids((8, 16, 32))
    for some, more, said in (
        (arrays[:2], {}, "yolov5_raw"), (arrays, {"classes": 3}, "expected 4 names"), (arrays, {"anchors": (1.0, 2.0)}, "yolov5_raw"),
        ([*arrays[:2], arrays[1]], {}, "yolov5_raw"),
    ):  # fmt: skip
        with pytest.raises(AlulaError, match=said) as caught:
            fit_decoder("yolov5_raw", outputs_of(some, **more), "net")  # type: ignore
        assert len(str(caught.value)) < 280
    with pytest.raises(AlulaError, match="--decoder yolov5_raw or --decoder yolov7_raw would fit"):
        fit_decoder("yolov5", outputs_of(arrays), "net")


@pytest.mark.parametrize("name, shape, inner", [("yolov5", (1, 378, 9), (9, 3)), ("yolov8", (1, 8, 126), (68,))])
def test_grids_beside_decoded_boxes_are_left_out(name: str, shape: tuple[int, ...], inner: tuple[int, ...]) -> None:
    rng, cells = np.random.default_rng(5), [(8, 12), (4, 6), (2, 3)]
    boxes = rng.uniform(0, 1, shape).astype(np.float32)
    maps = [np.ones((1, 3, *c, 9) if name == "yolov5" else (1, *inner, *c), np.float32) for c in cells]
    wanted = fit_decoder(name, outputs_of([boxes]), "net").decode([boxes], 0.3)
    for arrays in ([boxes, *maps], [*maps, boxes]):
        found = fit_decoder(name, outputs_of(arrays, ends=("",) * 4), "net").decode(arrays, 0.3)
        np.testing.assert_array_equal(found.boxes, wanted.boxes)
    with pytest.raises(AlulaError, match=f"--decoder {name} would fit"):
        fit_decoder("nms", outputs_of([boxes, *maps]), "net")


@pytest.mark.parametrize("name", ["nms_indices", "nms_indices_yx"])
def test_selected_indices_name_their_boxes(name: str) -> None:
    rng = np.random.default_rng(1)
    boxes, scores = rng.uniform(0, 60, (1, 9, 4)).astype(np.float32), rng.uniform(0, 1, (1, C, 9)).astype(np.float32)
    rows = np.array([[0, 2, 5], [0, 0, 8], [-1, -1, -1], [0, 3, 1], [0, 1, 9]])
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        arrays = [(rows, boxes, scores)[place] for place in order]
        fit = fit_decoder(name, outputs_of(arrays), "net")
        found = fit.decode(arrays, 0.0)
        assert fit.is_apart and found.classes.tolist() == [2, 0, 3]
        for box, score, (_, kind, place) in zip(found.boxes, found.scores, rows[[0, 1, 3]], strict=True):
            a, b, c, d = boxes[0, place] if name == "nms_indices" else boxes[0, place][[1, 0, 3, 2]]
            assert box.tolist() == [min(a, c), min(b, d), max(a, c), max(b, d)] and score == scores[0, kind, place]


def test_raw_grids_run_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2 = pytest.importorskip("cv2")
    arrays = [np.full((1, 3, SIZE[0] // s, SIZE[1] // s, 7), -9, np.float32) for s in (8, 16, 32)]
    arrays[1][0, 2, 1, 2] = 0, 0, 0, 0, 9, 9, -9
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((*SIZE, 3), np.uint8))
    source = write_detector(
        tmp_path / "net.onnx", {f"y{k}": array for k, array in enumerate(arrays)},
        metadata={"names": "['car', 'dog']", "imgsz": "[64, 96]", "stride": "32"},
    )  # fmt: skip
    (one,) = ran(capsys, "run", source, tmp_path / "image.png")["answers"][0]["results"]  # type: ignore
    assert one["name"] == "car" and one["box"] == [10.5, 0, 69.5, 64]  # 59 x 119, cut off at the edges
    words = ["--anchors", ",".join(["10"] * 18), "--decoder", "yolov5_raw"]
    (one,) = ran(capsys, "run", source, tmp_path / "image.png", *words)["answers"][0]["results"]  # type: ignore
    assert one["box"] == [35, 19, 45, 29]
