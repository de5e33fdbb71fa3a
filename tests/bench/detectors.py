"""Detectors from a photograph to boxes, beside onnxruntime with NumPy and OpenCV; and decoding alone.

    python -m tests.bench.detectors --json detectors.json [--only yolov8n] [--rounds 15]

Networks in the shapes of YOLOv5n, v8n, 11n, 26n, YOLOX-nano and NanoDet-m at 320 and 640 have random weights, and biases of the
classes for which 200 boxes pass the threshold. One thread; both sides alternate, medians count. Summary: detect_ratio_geomean and
detect_ratio_min, time of onnxruntime with OpenCV's preprocessing, NumPy's decoding and cv2.dnn.NMSBoxes over ours, image to boxes;
decode_ratio, our time over theirs for decoding and suppression of 8,400 x 84 outputs; boxes_equal_ratio, boxes that our decoders
and their reading find alike in onnxruntime's outputs, of all; network_ratio_geomean, of the networks alone.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np

from alula.host.onnx.importer import import_onnx
from alula.host.ort import OrtModel
from alula.report import Table
from alula.runtime.artifact.task import CONF, IOU, Task
from alula.runtime.data.opencv import opencv
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.tasks import decoders
from alula.runtime.tasks.decoding import Candidates
from alula.runtime.tasks.detect import Detector, chosen, outputs_of
from alula.runtime.tasks.predictor import output_specs
from alula.runtime.tasks.presets import preset
from tests.bench.detector_layers import Layers
from tests.bench.detector_networks import BINS, NETWORKS, STRIDES
from tests.bench.output import finish

CLASSES, PASSING = 80, 200
SIZES = (320, 640)
PRESETS = {"end_to_end": "yolo26"}  # where it is not called as the decoder
NEAR = 0.05  # pixels between boxes that are alike


def sigmoid(x: Array, shift: float = 0.0) -> Array:
    return 1 / (1 + np.exp(-(x + shift)))


def logit(p: Array) -> Array:
    p = np.clip(p.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.log(p / (1 - p))


def photograph() -> Array:
    """Something smooth, (720, 1280, 3)."""
    cv2 = opencv("images for the benchmark")
    rng = np.random.default_rng(0)
    return np.ascontiguousarray(
        cv2.resize(rng.integers(0, 256, (45, 80, 3)).astype(np.uint8), (1280, 720), interpolation=2)
    )


def network(name: str, size: int) -> bytes:
    """A network whose final outputs have a deviation of 1, and of whose boxes PASSING pass the threshold."""
    make, decoder = NETWORKS[name]
    net = Layers(size, "leaky" if decoder == "nanodet" else "silu")
    output, scores = make(net, CLASSES)
    x = preset(PRESETS.get(decoder, decoder)).for_input(_spec(size), name)(photograph())
    finals = OrtModel(net.model(output, net.finals).SerializeToString(), 1)({"images": x})
    for final in net.finals:
        net.values[net.named(final)["weight"]] /= np.float32(finals[final].std())
    y = next(iter(OrtModel(net.model(output).SerializeToString(), 1)({"images": x}).values()))
    there, best = (logit(part) for part in _scores(decoder, y[0]))
    low, high = -30.0, 30.0
    while high - low > 1e-6:
        shift = (low + high) / 2
        passing = (sigmoid(best, shift) * (1 if there.size < 2 else sigmoid(there, shift)) > CONF).sum()
        low, high = (low, shift) if passing > PASSING else (shift, high)
    for final in scores:
        bias = net.values[net.named(final)["bias"]]
        (bias.reshape(3, -1)[:, 4:] if decoder == "yolov5" else bias)[...] += np.float32(low)
    return net.model(output).SerializeToString()


def _spec(size: int) -> Any:
    from alula.runtime.graph import TensorSpec

    return TensorSpec((1, 3, size, size))


def _scores(decoder: str, y: Array) -> tuple[Array, Array]:
    """Of each box: how likely it is an object (one number if the network does not say), and the score of its best class."""
    if decoder in ("yolov5", "yolox"):
        return y[:, 4], y[:, 5:].max(1)
    none = np.ones(1)
    if decoder == "end_to_end":
        return none, y[:, 4]
    return none, y[4:].max(0) if decoder == "yolov8" else y[:, :CLASSES].max(1)


def read_plainly(decoder: str, y: Array, size: int) -> tuple[Array, Array, Array]:
    """Boxes, scores and classes by NumPy and OpenCV, as scripts do it, best first: those above the threshold are taken first."""
    cv2 = opencv("suppression")
    if decoder == "end_to_end":
        rows = y[0][y[0][:, 4] > CONF]
        return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)
    if decoder == "yolov8":
        best = y[0, 4:].max(0)
        keep = np.flatnonzero(best > CONF)
        rows, scores = y[0][:, keep].T, best[keep]
        kinds = rows[:, 4:].argmax(1)
    elif decoder == "nanodet":
        best = y[0, :, :CLASSES].max(1)
        keep = np.flatnonzero(best > CONF)
        rows, scores = y[0][keep], best[keep]
        kinds = rows[:, :CLASSES].argmax(1)
    else:
        keep = np.flatnonzero(y[0, :, 4] > CONF)
        rows = y[0][keep]
        kinds = rows[:, 5:].argmax(1)
        scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + kinds]
        above = scores > CONF
        keep, rows, kinds, scores = keep[above], rows[above], kinds[above], scores[above]
    if decoder in ("yolox", "nanodet"):
        grids = [np.mgrid[: size // stride, : size // stride][::-1].reshape(2, -1).T for stride in STRIDES]
        at = np.concatenate(grids)[keep].astype(np.float32)
        steps = np.repeat(STRIDES, [len(grid) for grid in grids])[keep].astype(np.float32)[:, None]
    if decoder == "nanodet":
        bins = np.exp(rows[:, CLASSES:].reshape(-1, 4, BINS // 2))
        sides = (bins / bins.sum(2, keepdims=True)) @ np.arange(BINS // 2, dtype=np.float32) * steps
        low = (at + np.float32(0.5)) * steps - sides[:, :2]
        wide = sides[:, :2] + sides[:, 2:]
    else:
        middle, wide = rows[:, :2], rows[:, 2:4]
        if decoder == "yolox":
            middle, wide = (middle + at) * steps, np.exp(wide) * steps
        low = middle - wide / 2
    boxes = np.concatenate([low, wide], 1)
    moved = boxes + np.array([1, 1, 0, 0], np.float32) * (kinds[:, None] * 4 * size).astype(np.float32)
    kept = cv2.dnn.NMSBoxes(moved.tolist(), scores.tolist(), CONF, IOU)
    kept = np.array(kept, np.int64).reshape(-1)
    boxes = np.concatenate([boxes[kept, :2], boxes[kept, :2] + boxes[kept, 2:]], 1)
    return boxes, scores[kept], kinds[kept]


def fed_plainly(decoder: str, image: Array, size: int) -> Array:
    """The network's input by OpenCV, as scripts make it."""
    cv2 = opencv("preprocessing")
    if decoder == "nanodet":
        small = cv2.resize(image, (size, size)).astype(np.float32)
        small = (small - np.array([103.53, 116.28, 123.675], np.float32)) / np.array(
            [57.375, 57.12, 58.395], np.float32
        )
        return np.ascontiguousarray(small.transpose(2, 0, 1)[None])
    height, width = image.shape[:2]
    factor = min(size / height, size / width)
    rows, columns = round(height * factor), round(width * factor)
    small = cv2.resize(image, (columns, rows))
    top, left = (0, 0) if decoder == "yolox" else ((size - rows) // 2, (size - columns) // 2)
    boxed = cv2.copyMakeBorder(small, top, size - rows - top, left, size - columns - left, 0, value=(114,) * 3)
    blob: Array = cv2.dnn.blobFromImage(boxed, 1.0 if decoder == "yolox" else 1 / 255, swapRB=decoder != "yolox")
    return blob


def alike(ours: Candidates, boxes: Array, kinds: Array) -> int:
    """How many boxes of theirs are among ours."""
    found = 0
    for box, kind in zip(boxes, kinds, strict=True):
        same = ours.classes == kind
        found += bool(same.any() and np.abs(ours.boxes[same] - box).max(1).min() < NEAR)
    return found


def timed(ways: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median milliseconds of each, one after the other in turn."""
    took: list[list[float]] = [[] for _ in ways]
    for turn in range(rounds + 2):
        for way, times in zip(ways, took, strict=True):
            start = time.perf_counter()
            way()
            if turn > 1:
                times.append(1e3 * (time.perf_counter() - start))
    return [median(times) for times in took]


def measure(name: str, size: int, rounds: int) -> dict[str, Any]:
    """One network at one size."""
    decoder = NETWORKS[name][1]
    content = network(name, size)
    graph = optimise(import_onnx(content, name).graph)
    session, image = OrtModel(content, 1), photograph()
    task = Task("detect", (), preset(PRESETS.get(decoder, decoder)), decoder)
    model = Model(graph, 1)
    detector = Detector(model.run, graph, task, name)
    x = detector.preprocessing(image)
    theirs = next(iter(session({"images": x}).values()))
    boxes, _, kinds = read_plainly(decoder, theirs, size)
    specs = output_specs(graph, detector.preprocessing)
    assert specs is not None
    fit = decoders.find(decoder).fit(outputs_of(graph, specs, (size, size), Task("detect")))
    assert fit is not None

    def ours_read() -> Candidates:
        return chosen(fit.decode([theirs], CONF), fit, CONF, IOU, False, ())

    def run_theirs() -> object:
        y = next(iter(session({"images": fed_plainly(decoder, image, size)}).values()))
        return read_plainly(decoder, y, size)

    whole, network_ms = (
        timed([lambda: detector(image), run_theirs], rounds),
        timed([lambda: model.run({"images": x}), lambda: session({"images": x})], rounds),
    )
    read_ms = timed([ours_read, lambda: read_plainly(decoder, theirs, size)], 5 * rounds)
    fed_ms = timed([lambda: detector.preprocessing(image), lambda: fed_plainly(decoder, image, size)], 3 * rounds)
    ours = ours_read()
    passing = int((np.prod(np.broadcast_arrays(*_scores(decoder, theirs[0])), axis=0) > CONF).sum())
    references = model.program({"images": x.shape}).reference_nodes
    return {"network": name, "size": size, "ours_ms": whole[0], "onnxruntime_ms": whole[1], "ratio": whole[1] / whole[0],
            "network_ratio": network_ms[1] / network_ms[0], "network_ms": network_ms[0], "decode_ms": read_ms[0],
            "decode_theirs_ms": read_ms[1], "input_ms": fed_ms[0], "input_theirs_ms": fed_ms[1], "passing": passing,
            "boxes": len(boxes), "ours": len(ours.scores), "alike": alike(ours, boxes, kinds),
            "reference_nodes": len(references)}  # fmt: skip


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    parser.add_argument("--only", action="append", choices=NETWORKS, help="these networks alone")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    rows = [measure(name, size, args.rounds) for name in args.only or NETWORKS for size in SIZES]
    ratios = [row["ratio"] for row in rows]
    summary = {
        "detect_ratio_geomean": geometric_mean(ratios),
        "detect_ratio_min": min(ratios),
        "network_ratio_geomean": geometric_mean(row["network_ratio"] for row in rows),
        "boxes_equal_ratio": sum(row["alike"] for row in rows)
        / max(1, sum(max(row["boxes"], row["ours"]) for row in rows)),
    }
    for row in rows:
        if (row["network"], row["size"]) == ("yolov8n", 640):
            summary["decode_ratio"] = row["decode_ms"] / row["decode_theirs_ms"]
    assert all(map(math.isfinite, summary.values()))
    shown = ("network", "size", "ours_ms", "onnxruntime_ms", "ratio", "network_ratio", "decode_ms", "decode_theirs_ms", "input_ms",
             "input_theirs_ms", "passing", "boxes", "reference_nodes")  # fmt: skip
    finish(summary, {"detectors": rows}, Table(shown, [tuple(row[key] for key in shown) for row in rows]), args.json)


if __name__ == "__main__":
    main()
