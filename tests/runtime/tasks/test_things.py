"""Key points and masks against readings of one box, one pixel after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alula.models import open_model
from alula.runtime.artifact.task import Task
from alula.runtime.data.placement import place
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import AlulaError
from alula.runtime.model import Model
from alula.runtime.tasks.decoding import Outputs, fit_decoder
from alula.runtime.tasks.masks import Mask, mask_of
from alula.runtime.tasks.pose import PoseFinder
from alula.runtime.tasks.segment import Segmenter
from tests.small_network import write_detector

SIZE = (32, 48)  # of the input
M, PROTOTYPES = 5, (8, 12)


def model(path: Path, **outputs: np.ndarray) -> Model:
    """A network that gives these outputs."""
    return open_model(str(write_detector(path / "net.onnx", outputs, SIZE)), threads=1)[0]


def task(kind: str, decoder: str, classes: int, resize: str = "letterbox", **more: object) -> Task:
    how = Preprocessing("rgb", SIZE, resize)
    return Task(kind, tuple(f"c{k}" for k in range(classes)), how, decoder, 0.5, 1.0, **more)  # type: ignore


def columns(rng: np.random.Generator, n: int, classes: int, more: np.ndarray) -> np.ndarray:
    """(1, 4 + classes + E, n): boxes within the input, each with its own best score. more : (E, n)"""
    corners = np.sort(rng.uniform(0, 1, (2, 2, n)), axis=0) * np.array(SIZE)[None, ::-1, None]
    middles, sides = corners.mean(0), corners[1] - corners[0]
    scores = rng.uniform(0, 0.4, (classes, n))
    scores[rng.integers(0, classes, n), np.arange(n)] = 0.51 + 0.4 * rng.permutation(n) / n
    return np.concatenate([middles, sides, scores, more])[None].astype(np.float32)


def rows(y: np.ndarray, classes: int) -> np.ndarray:
    """The same as an end-to-end network gives it: (1, n, 6 + E)."""
    x, up, w, h = y[0, :4]
    scores = y[0, 4 : 4 + classes]
    head = [x - w / 2, up - h / 2, x + w / 2, up + h / 2, scores.max(0), scores.argmax(0)]
    return np.concatenate([head, y[0, 4 + classes :]]).T[None].astype(np.float32)


def back(x: float, y: float, image: tuple[int, int]) -> tuple[float, float]:
    """From the input to the image, through a letterbox."""
    scale = min(SIZE[0] / image[0], SIZE[1] / image[1])
    h, w = round(image[0] * scale), round(image[1] * scale)
    left, top = (SIZE[1] - w) // 2, (SIZE[0] - h) // 2
    return min(max((x - left) * image[1] / w, 0), image[1]), min(max((y - top) * image[0] / h, 0), image[0])


@pytest.mark.parametrize("numbers, classes", [(3, 1), (2, 1), (3, 4)])
@pytest.mark.parametrize("decoder", ["yolov8_pose", "end_to_end_pose"])
def test_key_points_lie_in_the_image(decoder: str, numbers: int, classes: int, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    rng, k, n, image = np.random.default_rng(numbers), 7, 20, (50, 61)
    more = rng.uniform(-5, 55, (k, numbers, n))
    more[:, 2:] = rng.uniform(0, 1, more[:, 2:].shape)
    y = columns(rng, n, classes, more.reshape(-1, n))
    y[0, -1, 3] = np.inf  # is no pose
    output = y if decoder == "yolov8_pose" else rows(y, classes)
    net = model(tmp_path, y=output)
    find = PoseFinder(net.run, net.graph, task("pose", decoder, classes, keypoints=(k, numbers)), "net")
    found = find(np.zeros((*image, 3), np.uint8))
    order = [place for place in np.argsort(-y[0, 4 : 4 + classes].max(0)) if place != 3]
    assert len(found) == n - 1 and found.keypoints.shape == (n - 1, k, numbers) and found.keypoints.dtype == np.float32
    for row, place_ in enumerate(order):
        points = y[0, 4 + classes :, place_].reshape(k, numbers)
        for point, (px, py, *score) in zip(found.keypoints[row], points, strict=True):
            np.testing.assert_allclose(point[:2], back(px, py, image), atol=1e-3)
            assert point[2:].tolist() == score
    result = found.at(np.array([2])).results()[0]
    assert len(result["keypoints"]) == k and all(len(point) == numbers for point in result["keypoints"])
    assert found.seen().shape == (n - 1, k) and (numbers == 3 or found.seen().all())


def interpolated(sums: np.ndarray, x: float, y: float) -> float:
    """Between the four cells around a place, whose centres are halves."""
    h, w = sums.shape
    across, down = np.clip(x - 0.5, 0, w - 1), np.clip(y - 0.5, 0, h - 1)
    a, b = int(across), int(down)
    c, d = min(a + 1, w - 1), min(b + 1, h - 1)
    fx, fy = across - a, down - b
    above = sums[b, a] * (1 - fx) + sums[b, c] * fx
    return float(above * (1 - fy) + (sums[d, a] * (1 - fx) + sums[d, c] * fx) * fy)


@pytest.mark.parametrize("image", [(50, 61), SIZE, (20, 90)])
@pytest.mark.parametrize(
    "decoder, swapped", [("yolov8_segment", False), ("yolov8_segment", True), ("end_to_end_segment", False)]
)
def test_masks_are_those_of_a_reading_of_one_pixel_after_the_other(
    decoder: str, swapped: bool, image: tuple[int, int], tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    rng, n, classes = np.random.default_rng(sum(image)), 6, 3
    y = columns(rng, n, classes, rng.normal(size=(M, n)))
    prototypes = rng.normal(size=(1, M, *PROTOTYPES)).astype(np.float32)
    boxes = y if decoder == "yolov8_segment" else rows(y, classes)
    outputs = {"p": prototypes, "y": boxes} if swapped else {"y": boxes, "p": prototypes}
    net = model(tmp_path, **outputs)
    find = Segmenter(net.run, net.graph, task("segment", decoder, classes), "net")
    found = find(np.zeros((*image, 3), np.uint8))
    order = np.argsort(-y[0, 4 : 4 + classes].max(0))
    scale = min(SIZE[0] / image[0], SIZE[1] / image[1])
    h, w = round(image[0] * scale), round(image[1] * scale)
    left, top = (SIZE[1] - w) // 2, (SIZE[0] - h) // 2
    assert len(found.masks) == n and found.size == image
    for row, place_ in enumerate(order):
        sums = np.tensordot(y[0, 4 + classes :, place_].astype(np.float64), prototypes[0].astype(np.float64), 1)
        whole, edges = found.mask(row), found.boxes[row]
        for j in range(image[0]):
            for i in range(image[1]):
                inside = edges[0] <= i + 0.5 < edges[2] and edges[1] <= j + 0.5 < edges[3]
                x, up = (i + 0.5) * w / image[1] + left, (j + 0.5) * h / image[0] + top
                value = (
                    interpolated(sums, x * PROTOTYPES[1] / SIZE[1], up * PROTOTYPES[0] / SIZE[0]) if inside else -1.0
                )
                assert whole[j, i] == (value > 0) or abs(value) < 1e-4
    result = found.results()[0]
    assert result["area"] == found.mask(0).sum() and result["mask"]["size"] == list(image)


def test_a_mask_is_that_of_opencv_where_the_image_has_the_size_of_the_input() -> None:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(4)
    factors, prototypes = rng.normal(size=M).astype(np.float32), rng.normal(size=(M, *PROTOTYPES)).astype(np.float32)
    box = np.array([3.2, 5.5, 40.7, 30.1], np.float32)
    mask = mask_of(factors, prototypes, box, place(SIZE, SIZE, "stretch", 1.0), SIZE)
    sums = cv2.resize(np.tensordot(factors, prototypes, 1), SIZE[::-1], interpolation=cv2.INTER_LINEAR)
    wanted = np.zeros(SIZE, bool)
    wanted[5:30, 3:41] = sums[5:30, 3:41] > 0
    assert ((mask.whole(*SIZE) != wanted) & (abs(sums) > 1e-4)).sum() == 0 and wanted.any()


@pytest.mark.parametrize("seed", range(6))
def test_run_lengths_give_the_mask_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (height, width), (top, left) = (9, 7), rng.integers(0, 4, 2)
    pixels = rng.uniform(0, 1, (rng.integers(1, height - top + 1), rng.integers(1, width - left + 1))) < (seed / 5)
    mask = Mask(int(left), int(top), pixels)
    counts = mask.run_lengths(height, width)
    flat = [bool(number % 2) for number, count in enumerate(counts) for _ in range(count)]
    np.testing.assert_array_equal(np.array(flat).reshape(width, height).T, mask.whole(height, width))
    assert all(counts[1:]) and sum(counts) == height * width and mask.area == pixels.sum()
    assert Mask(0, 0, np.zeros((0, 0), bool)).run_lengths(3, 2) == [6]


@pytest.mark.parametrize("form", ["scores", "probabilities", "classes", "classes of one channel", "one class"])
def test_each_pixel_is_of_its_best_class(form: str, tmp_path: Path) -> None:
    """Where the output is as large as the image, nothing is interpolated."""
    cv2 = pytest.importorskip("cv2")
    scores = cv2.GaussianBlur(np.random.default_rng(3).normal(size=(*SIZE, 4)), (0, 0), 5).transpose(2, 0, 1) * 40
    scores[3] = -50  # is nowhere the best
    powers = np.exp(scores - scores.max(0))
    shares, best = powers / powers.sum(0), scores.argmax(0)
    ends: tuple[str, ...] = ("",)
    if form == "one class":
        output, shares, best = scores[None, :1], 1 / (1 + np.exp(-scores[:1])), np.where(scores[0] > 0, 0, -1)
    elif form.startswith("classes"):
        output, shares = best.reshape(1, *(1,) * (form != "classes"), *SIZE), np.ones_like(shares)
    else:
        output, ends = (scores[None], ("",)) if form == "scores" else (shares[None], ("Softmax",))
    array = output if output.dtype.kind == "i" else output.astype(np.float32)
    classes = 1 if form == "one class" else 4
    fit = fit_decoder(
        "semantic_segment", Outputs((array.shape,), (array.dtype.name,), SIZE, classes, ends=ends), "net", "segment"
    )
    found = fit.decode([array], 0.0)
    assert sorted(found.classes.tolist()) == [kind for kind in np.unique(best) if kind >= 0] and fit.is_apart
    for kind, score in zip(found.classes, found.scores, strict=True):
        assert score == pytest.approx(shares[kind][best == kind].mean(), rel=1e-4)
    if ends == ("",):
        net = model(tmp_path, y=array)
        segment = Segmenter(net.run, net.graph, task("segment", "semantic_segment", classes), "net")
        seen = segment(np.zeros((*SIZE, 3), np.uint8), conf=0.0)
        np.testing.assert_array_equal(seen.class_map(), best)
        for row, kind in enumerate(seen.classes):
            np.testing.assert_array_equal(seen.mask(row), best == kind)
        larger = segment(np.zeros((2 * SIZE[0], 2 * SIZE[1], 3), np.uint8), conf=0.0)
        assert (larger.class_map()[::2, ::2] == best).mean() > 0.95 and not segment.has_things


def test_of_equal_scores_the_first_class_has_the_pixels(tmp_path: Path) -> None:
    """Scores of quantized networks are often equal."""
    array = np.zeros((1, 3, *SIZE), np.float32)
    array[0, 1, :16], array[0, 2, 8:24] = 5, 5
    net = model(tmp_path, y=array)
    segment = Segmenter(net.run, net.graph, task("segment", "semantic_segment", 3), "net")
    seen = segment(np.zeros((*SIZE, 3), np.uint8), conf=0.0)
    best = np.repeat(np.array([1, 2, 0]), [16, 8, 8])[:, None] * np.ones(SIZE[1], np.int64)
    np.testing.assert_array_equal(seen.class_map(), best)
    assert {int(kind): int(seen.mask(row).sum()) for row, kind in enumerate(seen.classes)} == {
        kind: int((best == kind).sum()) for kind in range(3)
    }


def test_a_pixel_without_a_finite_score_is_of_no_class() -> None:
    array = np.random.default_rng(0).normal(size=(1, 3, 8, 12)).astype(np.float32)
    array[0, :, 2] = np.nan
    fit = fit_decoder("semantic_segment", Outputs((array.shape,), ("float32",), SIZE, 3, ends=("",)), "net", "segment")
    with np.errstate(invalid="ignore"):
        found = fit.decode([array], 0.0)
    assert found.shared is not None and np.isfinite(found.scores).all() and not (found.shared[:, 2] > 0).any()


@pytest.mark.parametrize(
    "kind, name, shapes, classes, points, said",
    [("pose", "end_to_end_pose", ((1, 56, 8400),), 1, (17, 3), "--decoder yolov8_pose would fit"),
     ("pose", "yolov8_pose", ((1, 300, 57),), 1, (17, 3), "--decoder end_to_end_pose would fit"),
     ("pose", "yolov8_pose", ((1, 56, 8400),), 2, (17, 3), "expected 1 names"),
     ("pose", "yolov8_pose", ((1, 5, 8400),), 1, (), "no decoder fits"),
     ("segment", "yolov8_segment", ((1, 300, 38), (1, 32, 160, 160)), 80, (), "--decoder end_to_end_segment would fit"),
     ("segment", "yolov8_segment", ((1, 116, 8400), (1, 32, 160, 160)), 3, (), "expected 80 names"),
     ("segment", "yolov8_segment", ((1, 84, 8400),), 80, (), "no decoder fits"),
     ("segment", "yolov8_segment", ((1, 21, 80, 80),), 21, (), "--decoder semantic_segment would fit"),
     ("segment", "semantic_segment", ((1, 21, 80, 80),), 20, (), "expected 21 names")],
)  # fmt: skip
def test_a_decoder_of_another_layout_is_refused(
    kind: str, name: str, shapes: tuple[tuple[int, ...], ...], classes: int, points: tuple[int, ...], said: str
) -> None:
    with pytest.raises(AlulaError, match=r"^net: expected") as caught:
        fit_decoder(name, Outputs(shapes, ("float32",) * len(shapes), (640, 640), classes, points=points), "net", kind)
    assert said in str(caught.value) and len(str(caught.value)) < 280
