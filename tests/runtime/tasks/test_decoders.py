"""Decoders of detectors against readings of one box after the other, and one line where none fits."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import AlulaError
from alula.runtime.kernels.boxes import BLOCK
from alula.runtime.tasks import decoders
from alula.runtime.tasks.decoding import (
    Candidates,
    Fit,
    Outputs,
    apart,
    best_of_columns,
    best_of_rows,
    fit_decoder,
)
from alula.runtime.tasks.detect import chosen

SIZE, C = (64, 96), 5
CELLS = [(stride, x, y) for stride in (8, 16, 32, 64) for y in range(-(-64 // stride)) for x in range(-(-96 // stride))]
Box = tuple[list[float], float, int]


def centred(x: float, y: float, w: float, h: float) -> list[float]:
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def best(scores: np.ndarray, factor: float = 1.0) -> tuple[float, int]:
    kind = max(range(len(scores)), key=lambda k: (scores[k], -k))
    return float(np.float32(factor) * scores[kind]), kind


def distribution(figures: np.ndarray, x: float, y: float, stride: int) -> list[float]:
    sides = []
    for side in figures.reshape(4, -1):
        powers = [np.exp(float(figure)) for figure in side]
        sides.append(stride * sum(k * power for k, power in enumerate(powers)) / sum(powers))
    return [x - sides[0], y - sides[1], x + sides[2], y + sides[3]]


def read_columns(y: np.ndarray) -> list[Box]:
    return [(centred(*column[:4]), *best(column[4:])) for column in y[0].T]


def read_rows(y: np.ndarray) -> list[Box]:
    return [(centred(*row[:4]), *best(row[5:], row[4])) for row in y[0]]


def read_yolox(y: np.ndarray) -> list[Box]:
    boxes = []
    for (stride, column, row), figures in zip(CELLS, y[0], strict=False):
        x, up, w, h = (float(figure) for figure in figures[:4])
        box = centred((column + x) * stride, (row + up) * stride, np.exp(w) * stride, np.exp(h) * stride)
        boxes.append((box, *best(figures[5:], figures[4])))
    return boxes


def read_distances(scores: np.ndarray, figures: np.ndarray, shift: float) -> list[Box]:
    return [
        (distribution(sides, (column + shift) * stride, (row + shift) * stride, stride), *best(own))
        for (stride, column, row), own, sides in zip(CELLS, scores, figures, strict=False)
    ]


def random_outputs(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(len(shapes) + sum(map(sum, shapes)))
    return [rng.uniform(0, 1, shape).astype(np.float32) for shape in shapes]


THREE, FOUR = 126, 128  # cells of three and of four grids
CASES = {
    "yolov5": ([(1, 378, 5 + C)], lambda y: read_rows(y)),
    "yolov6": ([(1, THREE, 5 + C)], lambda y: read_rows(y)),
    "yolov8": ([(1, 4 + C, THREE)], lambda y: read_columns(y)),
    "yolov8 of one class": ([(1, 5, 2 * BLOCK + 3)], lambda y: read_columns(y)),
    "yolox": ([(1, THREE, 5 + C)], lambda y: read_yolox(y)),
    "yolox of four grids": ([(1, FOUR, 6)], lambda y: read_yolox(y)),
    "end_to_end": ([(1, 30, 6)], lambda y: [(list(row[:4]), float(row[4]), int(row[5])) for row in y[0]]),
    "nanodet": ([(1, THREE, C + 32)], lambda y: read_distances(y[0, :, :C], y[0, :, C:], 0.5)),
    "nanodet of four grids": ([(1, FOUR, C + 32)], lambda y: read_distances(y[0, :, :C], y[0, :, C:], 0)),
    "picodet": ([(1, FOUR, C + 32)], lambda y: read_distances(y[0, :, :C], y[0, :, C:], 0.5)),
    "picodet in parts": (
        [(1, n, k) for k in (C, 32) for n in (96, 24, 6, 2)],
        lambda *y: read_distances(np.concatenate(y[:4], 1)[0], np.concatenate(y[4:], 1)[0], 0.5),
    ),
    "picodet with boxes": (
        [(1, 40, 4), (1, C, 40)],
        lambda boxes, scores: [(list(box), *best(own)) for box, own in zip(boxes[0], scores[0].T, strict=True)],
    ),
    "nms": ([(9, 7)], lambda y: [(list(row[1:5]), float(row[6]), int(row[5])) for row in y]),
}


def outputs_of(arrays: list[np.ndarray], classes: int = 0, ops: frozenset[str] = frozenset()) -> Outputs:
    return Outputs(
        tuple(array.shape for array in arrays), tuple(array.dtype.name for array in arrays), SIZE, classes, ops
    )


@pytest.mark.parametrize("case", CASES)
def test_candidates_are_those_of_a_reading_of_one_box_after_the_other(case: str) -> None:
    shapes, read = CASES[case]
    arrays = random_outputs(*shapes)
    found = fit_decoder(case.split()[0], outputs_of(arrays), "net").decode(arrays, 0.4)
    found = found.at(np.flatnonzero(found.scores > np.float32(0.4)))
    expected = [box for box in read(*arrays) if box[1] > np.float32(0.4)]
    assert len(expected) > 1
    np.testing.assert_allclose(found.boxes, np.array([box for box, _, _ in expected]), rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(found.scores, np.array([score for _, score, _ in expected], np.float32))
    assert found.classes.tolist() == [kind for _, _, kind in expected]


@pytest.mark.parametrize("case", CASES)
def test_an_image_may_show_nothing(case: str) -> None:
    arrays = [np.zeros_like(array) for array in random_outputs(*CASES[case][0])]
    fit = fit_decoder(case.split()[0], outputs_of(arrays), "net")
    found = chosen(fit.decode(arrays, 0.4), fit, 0.4, 0.5, False, ())
    assert (found.boxes.shape, found.scores.shape, found.classes.shape) == ((0, 4), (0,), (0,))


def test_a_decoded_yolox_and_lists_of_boxes_are_read_as_they_are() -> None:
    (rows,) = random_outputs((1, THREE, 5 + C))
    decoded = fit_decoder("yolox", outputs_of([rows], ops=frozenset({"Exp"})), "net").decode([rows], 0.4)
    np.testing.assert_array_equal(
        decoded.boxes, fit_decoder("yolov6", outputs_of([rows]), "net").decode([rows], 0.4).boxes
    )
    boxes, scores = random_outputs((7, 4), (7,))
    labels = np.arange(7)
    for order in ((0, 1, 2), (2, 0, 1)):
        arrays = [(boxes, scores, labels)[place] for place in order]
        found = fit_decoder("nms", outputs_of(arrays), "net").decode(arrays, 0.5)
        np.testing.assert_array_equal(found.boxes, boxes[scores > 0.5])
        assert found.classes.tolist() == labels[scores > 0.5].tolist()
    counted = [np.array([[3]], np.int32), boxes[None], scores[None], labels[None].astype(np.int32)]
    assert len(fit_decoder("nms", outputs_of(counted), "net").decode(counted, 0.0).scores) == 3


@pytest.mark.parametrize("n", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_the_first_of_equal_classes_is_the_best(n: int) -> None:
    scores = np.random.default_rng(n).integers(0, 4, (7, n)).astype(np.float32) / 4
    for conf in (0.0, 0.5, 0.75):
        places = np.flatnonzero(scores.max(0) > conf)
        by_column = best_of_columns(scores, conf)
        by_row = best_of_rows(np.ascontiguousarray(scores.T), 0, 7, conf)
        for found in (by_column, by_row):
            np.testing.assert_array_equal(found[0], places)
            np.testing.assert_array_equal(found[1], scores.argmax(0)[places])


def plainly_apart(boxes: np.ndarray, scores: np.ndarray, kinds: np.ndarray, iou: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        for j in kept:
            wide = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            high = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            areas = [(boxes[k, 2] - boxes[k, 0]) * (boxes[k, 3] - boxes[k, 1]) for k in (j, i)]
            if kinds[i] == kinds[j] and wide > 0 and high > 0:
                if wide * high / (areas[0] + areas[1] - wide * high) > np.float32(iou):
                    break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("n, iou", [(0, 0.5), (1, 0.5), (60, 0.3), (60, 0.0), (60, 1.0)])
def test_boxes_that_overlap_a_better_one_are_dropped(n: int, iou: float) -> None:
    rng = np.random.default_rng(n)
    corner = rng.integers(0, 20, (n, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 15, (n, 2))], 1).astype(np.float32)
    scores = rng.integers(0, 20, n).astype(np.float32) / 20  # many are equal
    kinds = rng.integers(0, 3, n)
    some = Candidates(boxes, scores, kinds)
    assert apart(some, -1, iou).tolist() == plainly_apart(boxes, scores, kinds, iou)
    assert apart(some, -1, iou, 3, agnostic=True).tolist() == plainly_apart(boxes, scores, np.zeros(n), iou)


def test_what_is_no_number_is_no_box() -> None:
    boxes = np.array(
        [[0, 0, 2, 2], [0, np.nan, 5, 5], [0, 0, np.inf, 5], [9, 9, 12, 12], [5, 5, 4, 6], [5, 5, 6, 4]], np.float32
    )
    some = Candidates(boxes, np.array([0.9, 0.9, 0.9, np.nan, 0.9, 0.9], np.float32), np.zeros(6, np.int64))
    assert len(chosen(some, Fit(lambda arrays, conf: some, 1), 0.5, 0.5, False, ()).scores) == 1
    rows = np.full((1, THREE, 5 + C), 1000, np.float32)
    fit = fit_decoder("yolox", outputs_of([rows]), "net")
    assert len(chosen(fit.decode([rows], 0.5), fit, 0.5, 0.5, False, ()).scores) == 0
    inside_out = np.array([[5, 1, 3, 9], [1, 9, 3, 5], [1, 1, 3, 3]], np.float32)
    some = Candidates(inside_out, np.full(3, 0.9, np.float32), np.arange(3))
    assert chosen(some, Fit(lambda arrays, conf: some, 3), 0.5, 0.5, False, ()).classes.tolist() == [2]


@pytest.mark.parametrize(
    "name, shape, classes, said",
    [("yolov5", (1, 84, 8400), 80, "--decoder yolov8 would fit"), ("", (1, 84, 8400), 0, "--decoder yolov8 would fit"),
     ("", (1, THREE, 85), 80, "--decoder yolov6 or --decoder yolox would fit"), ("yolov8", (1, 84, 8400), 3, "expected 80 names"),
     ("yolov8", (1, 8400, 85), 80, "--decoder yolov5 would fit"), ("yolox", (1, 25, 85), 80, "--decoder yolov5 would fit"),
     ("nanodet", (1, THREE, 112), 81, "expected 80 names"), ("end_to_end", (1, 10), 0, "no decoder fits"),
     ("nms", (1, 3, 8, 8), 0, "no decoder fits"), ("picodet", (1, THREE, 30), 0, "yolov6 or --decoder yolox"),
     ("yolov5", (1, THREE, 85), 80, "--decoder yolov6 or --decoder yolox would fit"),
     ("yolox", (1, 378, 85), 80, "--decoder yolov5 would fit"),
     ("yolov6", (1, 378, 85), 80, "--decoder yolov5 would fit")],
)  # fmt: skip
def test_a_decoder_that_does_not_fit_names_those_that_would(
    name: str, shape: tuple[int, ...], classes: int, said: str
) -> None:
    with pytest.raises(AlulaError, match=r"^net: expected") as caught:
        fit_decoder(name, Outputs((shape,), ("float32",), SIZE, classes), "net")
    assert said in str(caught.value) and len(str(caught.value)) < 280


def test_every_file_of_the_folder_is_a_decoder() -> None:
    others = {"yolov5_raw", "yolov7_raw", "nms_indices", "nms_indices_yx"}  # test_raw_decoders.py
    assert set(decoders.names("detect")) == {case.split()[0] for case in CASES} | others
    assert (len(decoders.names("pose")), len(decoders.names("segment"))) == (2, 3)  # test_things.py
    for name in decoders.names():
        assert decoders.find(name).LAYOUT and decoders.find(name).fit(Outputs((), (), SIZE)) is None
