"""Detectors in the shapes of YOLOv5n, v8n, 11n and 26n, YOLOX-nano and NanoDet-m, written from their published structure.

Each function takes the layers and the classes and gives the output of the network, and the final convolutions whose biases
decide how many boxes pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.bench.detector_layers import Layers

BINS = 16  # of a side of YOLOv8's boxes
STRIDES = (8, 16, 32)
ANCHORS = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))  # YOLOv5's, COCO
Made = tuple[str, list[str]]


def bottleneck(net: Layers, x: str, width: int, first: int = 3, share: float = 1.0, sums: bool = True) -> str:
    """Two convolutions, and a shortcut."""
    y = net.conv(net.conv(x, int(width * share), first), width, 3)
    return net.add(x, y) if sums else y


def c3(net: Layers, x: str, width: int, repeats: int, sums: bool = True, first: int = 1) -> str:
    """YOLOv5's stage: half of the channels through bottlenecks, half past them."""
    half = width // 2
    y, other = net.conv(x, half), net.conv(x, half)
    for _ in range(repeats):
        y = bottleneck(net, y, half, first, sums=sums)
    return net.conv(net.concat([y, other]), width)


def c2f(net: Layers, x: str, width: int, repeats: int, sums: bool, half: int = 0, kind: str = "") -> str:
    """YOLOv8's stage (kind ""), or YOLO11's: of small bottlenecks ("small") or of C3 ("c3")."""
    half = half or width // 2
    parts = net.halves(net.conv(x, 2 * half))
    for _ in range(repeats):
        last = parts[-1]
        if kind == "c3":
            parts.append(c3(net, last, half, 2, first=3))
        else:
            parts.append(bottleneck(net, last, half, 3, 0.5 if kind else 1.0, sums))
    return net.conv(net.concat(parts), width)


def sppf(net: Layers, x: str, width: int) -> str:
    """The maxima of 5, 9 and 13 beside the image."""
    parts = [net.conv(x, width // 2)]
    for _ in range(3):
        parts.append(net.pool(parts[-1], 5))
    return net.conv(net.concat(parts), width)


def attention(net: Layers, x: str, width: int) -> str:
    """YOLO11's C2PSA: one block of attention on half of the channels."""
    kept, y = net.halves(net.conv(x, width))
    c, h, w = net.shapes[y]
    heads, key, head, n = c // 64, 32, 64, h * w
    qkv = net.reshape(net.plain(y, heads * (2 * key + head)), 1, heads, 2 * key + head, n)
    q, k = net.part(qkv, 2, 0, key), net.part(qkv, 2, key, 2 * key)
    v = net.part(qkv, 2, 2 * key, 2 * key + head)
    scores = net.node("MatMul", [net.transpose(q, 0, 1, 3, 2), k], (heads, n, n))
    scores = net.node("Softmax", [net.node("Mul", [scores, net.value(key**-0.5)])], axis=-1)
    seen = net.node("MatMul", [v, net.transpose(scores, 0, 1, 3, 2)], (heads, head, n))
    seen = net.add(net.reshape(seen, 1, c, h, w), net.plain(net.reshape(v, 1, c, h, w), c, 3, group=c))
    y = net.add(y, net.plain(seen, c))
    y = net.add(y, net.plain(net.conv(y, 2 * c), c))
    return net.conv(net.concat([kept, y]), width)


def yolov5n(net: Layers, classes: int) -> Made:
    """Backbone, pyramid, and anchors applied in the network."""
    x = c3(net, net.conv(net.conv("images", 16, 6, 2, pad=2), 32, 3, 2), 32, 1)
    four = c3(net, net.conv(x, 64, 3, 2), 64, 2)
    six = c3(net, net.conv(four, 128, 3, 2), 128, 3)
    x = sppf(net, c3(net, net.conv(six, 256, 3, 2), 256, 1), 256)
    ten = net.conv(x, 128)
    x = c3(net, net.concat([net.doubled(ten), six]), 128, 1, False)
    fourteen = net.conv(x, 64)
    small = c3(net, net.concat([net.doubled(fourteen), four]), 64, 1, False)
    middle = c3(net, net.concat([net.conv(small, 64, 3, 2), fourteen]), 128, 1, False)
    large = c3(net, net.concat([net.conv(middle, 128, 3, 2), ten]), 256, 1, False)
    rows, biases, width = [], [], 5 + classes
    for x, stride, anchors in zip((small, middle, large), STRIDES, ANCHORS, strict=True):
        _, h, w = net.shapes[x]
        y = net.final(x, 3 * width)
        biases.append(y)
        y = net.node("Sigmoid", [net.transpose(net.reshape(y, 1, 3, width, h, w), 0, 1, 3, 4, 2)])
        columns, lines = np.meshgrid(np.arange(w) - 0.5, np.arange(h) - 0.5)
        grid = np.broadcast_to(np.stack([columns, lines], 2), (1, 3, h, w, 2))
        at = net.node("Mul", [net.part(y, 4, 0, 2), net.value(2)])
        at = net.node("Mul", [net.node("Add", [at, net.value(grid)]), net.value(stride)])
        wide = net.node("Pow", [net.node("Mul", [net.part(y, 4, 2, 4), net.value(2)]), net.value(2)])
        wide = net.node("Mul", [wide, net.value(np.broadcast_to(np.reshape(anchors, (1, 3, 1, 1, 2)), grid.shape))])
        y = net.node("Concat", [at, wide, net.part(y, 4, 4, width)], (3, h, w, width), axis=4)
        rows.append(net.reshape(y, 1, 3 * h * w, width))
    return net.node("Concat", rows, (sum(net.shapes[row][0] for row in rows), width), axis=1), biases


def yolov8n(net: Layers, classes: int) -> Made:
    """No anchors; a side of a box is the mean of 16 bins."""
    x = c2f(net, net.conv(net.conv("images", 16, 3, 2), 32, 3, 2), 32, 1, True)
    four = c2f(net, net.conv(x, 64, 3, 2), 64, 2, True)
    six = c2f(net, net.conv(four, 128, 3, 2), 128, 2, True)
    nine = sppf(net, c2f(net, net.conv(six, 256, 3, 2), 256, 1, True), 256)
    twelve = c2f(net, net.concat([net.doubled(nine), six]), 128, 1, False)
    small = c2f(net, net.concat([net.doubled(twelve), four]), 64, 1, False)
    middle = c2f(net, net.concat([net.conv(small, 64, 3, 2), twelve]), 128, 1, False)
    large = c2f(net, net.concat([net.conv(middle, 128, 3, 2), nine]), 256, 1, False)
    scales, biases = _scales(net, (small, middle, large), classes, 4 * BINS, False)
    sides, scores = _columns(net, scales, 4 * BINS, classes)
    return _with_scores(net, _boxes(net, _mean_of_bins(net, sides)), scores), biases


def _yolo11_scales(net: Layers) -> tuple[str, str, str]:
    x = c2f(net, net.conv(net.conv("images", 16, 3, 2), 32, 3, 2), 64, 1, True, 16, "small")
    four = c2f(net, net.conv(x, 64, 3, 2), 128, 1, True, 32, "small")
    six = c2f(net, net.conv(four, 128, 3, 2), 128, 1, True, 64, "c3")
    ten = attention(net, sppf(net, c2f(net, net.conv(six, 256, 3, 2), 256, 1, True, 128, "c3"), 256), 256)
    thirteen = c2f(net, net.concat([net.doubled(ten), six]), 128, 1, True, 64, "small")
    small = c2f(net, net.concat([net.doubled(thirteen), four]), 64, 1, True, 32, "small")
    middle = c2f(net, net.concat([net.conv(small, 64, 3, 2), thirteen]), 128, 1, True, 64, "small")
    return small, middle, c2f(net, net.concat([net.conv(middle, 128, 3, 2), ten]), 256, 1, True, 128, "c3")


def yolo11n(net: Layers, classes: int) -> Made:
    """YOLOv8's way with attention and depthwise class heads."""
    scales, biases = _scales(net, _yolo11_scales(net), classes, 4 * BINS, True)
    sides, scores = _columns(net, scales, 4 * BINS, classes)
    return _with_scores(net, _boxes(net, _mean_of_bins(net, sides)), scores), biases


def yolo26n(net: Layers, classes: int, most: int = 300) -> Made:
    """Without bins, and the best boxes chosen in the network."""
    scales, biases = _scales(net, _yolo11_scales(net), classes, 4, True)
    sides, scores = _columns(net, scales, 4, classes)
    sides = net.node("Softplus", [sides])  # trained sides are positive
    found = net.transpose(_boxes(net, sides, corners=True), 0, 2, 1)
    rows = net.transpose(net.node("Sigmoid", [scores]), 0, 2, 1)
    n = net.shapes[rows][0]
    best = net.node("ReduceMax", [rows], (n,), axes=[2], keepdims=0)
    places = _top(net, best, most)
    places = net.reshape(places, 1, most, 1)
    rows = net.node("GatherElements", [rows, _tiled(net, places, classes)], (most, classes), axis=1)
    flat = net.reshape(rows, 1, most * classes)
    at = _top(net, flat, most)
    score = net.reshape(net.node("GatherElements", [flat, at], (most,), axis=1), 1, most, 1)
    many = net.value(classes, "int64")
    kind = net.reshape(net.node("Mod", [at, many]), 1, most, 1)
    row = net.reshape(net.node("Div", [at, many]), 1, most, 1)
    own = net.node("GatherElements", [places, row], (most, 1), axis=1)
    boxes = net.node("GatherElements", [found, _tiled(net, own, 4)], (most, 4), axis=1)
    kind = net.node("Cast", [kind], (most, 1), to=1)
    return net.node("Concat", [boxes, score, kind], (most, 6), axis=2), biases


def _top(net: Layers, x: str, most: int) -> str:
    net.node("TopK", [x, net.value([most], "int64")], (most,), axis=1)
    name = f"{net.nodes[-1].output[0]}_places"
    net.nodes[-1].output.append(name)
    net.shapes[name] = (most,)
    return name


def _tiled(net: Layers, places: str, times: int) -> str:
    return net.node("Tile", [places, net.value([1, 1, times], "int64")], (net.shapes[places][0], times))


def _scales(
    net: Layers, xs: tuple[str, ...], classes: int, sides: int, depthwise: bool
) -> tuple[list[tuple[str, str]], list[str]]:
    """Sides and class scores of each scale, and the scores alone."""
    first = net.shapes[xs[0]][0]
    box_width, class_width = max(16, first // 4, sides), max(first, min(classes, 100))
    made, biases = [], []
    for x in xs:
        box, score = net.conv(net.conv(x, box_width, 3), box_width, 3), x
        for _ in range(2):
            score = net.separable(score, class_width) if depthwise else net.conv(score, class_width, 3)
        box, score = net.final(box, sides), net.final(score, classes)
        biases.append(score)
        made.append((box, score))
    return made, biases


def _columns(net: Layers, scales: list[tuple[str, str]], sides: int, classes: int) -> tuple[str, str]:
    """All scales in one: sides (1, SIDES, N) and scores (1, C, N)."""
    parts = []
    for box, score in scales:
        _, h, w = net.shapes[box]
        parts.append(net.reshape(net.concat([box, score]), 1, sides + classes, h * w))
    n = sum(net.shapes[part][1] for part in parts)
    x = net.node("Concat", parts, (sides + classes, n), axis=2)
    return net.part(x, 1, 0, sides), net.part(x, 1, sides, sides + classes)


def _mean_of_bins(net: Layers, sides: str) -> str:
    n = net.shapes[sides][1]
    x = net.transpose(net.reshape(sides, 1, 4, BINS, n), 0, 2, 1, 3)
    x = net.node("Softmax", [x], axis=1)
    x = net.node("Conv", [x, net.value(np.arange(BINS).reshape(1, BINS, 1, 1))], (1, 4, n), kernel_shape=[1, 1])
    return net.reshape(x, 1, 4, n)


def _boxes(net: Layers, sides: str, corners: bool = False) -> str:
    """Centre and size, or corners, in pixels (1, 4, N)."""
    n = net.shapes[sides][1]
    cells, steps = [], []
    for stride in STRIDES:
        columns, lines = np.meshgrid(np.arange(net.size // stride) + 0.5, np.arange(net.size // stride) + 0.5)
        cells.append(np.stack([columns.ravel(), lines.ravel()]))
        steps.append(np.full((1, cells[-1].shape[1]), stride))
    at, step = net.value(np.concatenate(cells, 1)[None]), net.value(np.concatenate(steps, 1)[None])
    low = net.node("Sub", [at, net.part(sides, 1, 0, 2)], (2, n))
    high = net.node("Add", [net.part(sides, 1, 2, 4), at], (2, n))
    if not corners:
        low, high = (
            net.node("Div", [net.add(low, high), net.value(2)], (2, n)),
            net.node("Sub", [high, low], (2, n)),
        )
    return net.node("Mul", [net.node("Concat", [low, high], (4, n), axis=1), step])


def _with_scores(net: Layers, boxes: str, scores: str) -> str:
    classes, n = net.shapes[scores]
    return net.node("Concat", [boxes, net.node("Sigmoid", [scores])], (4 + classes, n), axis=1)


def yolox_nano(net: Layers, classes: int) -> Made:
    """Depthwise convolutions; boxes are left relative to their cells."""

    def csp(x: str, width: int, repeats: int, sums: bool = True) -> str:
        half = width // 2
        y, other = net.conv(x, half), net.conv(x, half)
        for _ in range(repeats):
            z = net.separable(net.conv(y, half), half)
            y = net.add(z, y) if sums else z
        return net.conv(net.concat([y, other]), width)

    lines = [net.part("images", 2, start, 1 << 30, 2) for start in (0, 1)]
    x = net.conv(net.concat([net.part(line, 3, start, 1 << 30, 2) for start in (0, 1) for line in lines]), 16, 3)
    x = csp(net.separable(x, 32, 3, 2), 32, 1)
    three = csp(net.separable(x, 64, 3, 2), 64, 3)
    four = csp(net.separable(three, 128, 3, 2), 128, 3)
    x = net.conv(net.separable(four, 256, 3, 2), 128)
    x = net.conv(net.concat([x, *(net.pool(x, k) for k in (5, 9, 13))]), 256)
    five = net.conv(csp(x, 256, 1, False), 128)
    y = net.conv(csp(net.concat([net.doubled(five), four]), 128, 1, False), 64)
    small = csp(net.concat([net.doubled(y), three]), 64, 1, False)
    middle = csp(net.concat([net.separable(small, 64, 3, 2), y]), 128, 1, False)
    large = csp(net.concat([net.separable(middle, 128, 3, 2), five]), 256, 1, False)
    rows, biases = [], []
    for x in (small, middle, large):
        x = net.conv(x, 64)
        _, h, w = net.shapes[x]
        score = net.final(net.separable(net.separable(x, 64), 64), classes)
        box = net.separable(net.separable(x, 64), 64)
        sides, there = net.final(box, 4), net.final(box, 1)
        biases += [score, there]
        both = net.concat([sides, net.node("Sigmoid", [there]), net.node("Sigmoid", [score])])
        rows.append(net.reshape(both, 1, 5 + classes, h * w))
    x = net.node("Concat", rows, (5 + classes, sum(net.shapes[row][1] for row in rows)), axis=2)
    return net.transpose(x, 0, 2, 1), biases


def nanodet_m(net: Layers, classes: int) -> Made:
    """ShuffleNetV2 1.0x, a pyramid of sums, and sides as distributions of 8 bins."""

    def shuffled(x: str) -> str:
        c, h, w = net.shapes[x]
        return net.reshape(net.transpose(net.reshape(x, 1, 2, c // 2, h, w), 0, 2, 1, 3, 4), 1, c, h, w)

    def branch(x: str, width: int, stride: int) -> str:
        return net.conv(net.plain(net.conv(x, width), width, 3, stride, width), width)

    x = net.pool(net.conv("images", 24, 3, 2), 3, 2)
    kept = []
    for width, repeats in ((116, 4), (232, 8), (464, 4)):
        first = net.conv(net.plain(x, net.shapes[x][0], 3, 2, net.shapes[x][0]), width // 2)
        x = shuffled(net.concat([first, branch(x, width // 2, 2)]))
        for _ in range(repeats - 1):
            past, other = net.halves(x)
            x = shuffled(net.concat([past, branch(other, width // 2, 1)]))
        kept.append(x)
    small, middle, large = (net.plain(x, 96) for x in kept)
    middle = net.add(middle, net.doubled(large, "linear"))
    small = net.add(small, net.doubled(middle, "linear"))
    middle = net.add(middle, net.pool(small, 1, 2))
    large = net.add(large, net.pool(middle, 1, 2))
    rows, biases = [], []
    for x in (small, middle, large):
        x = net.separable(net.separable(x, 96), 96)
        _, h, w = net.shapes[x]
        score, sides = net.final(x, classes), net.final(x, 32)
        biases.append(score)
        rows.append(net.reshape(net.concat([net.node("Sigmoid", [score]), sides]), 1, classes + 32, h * w))
    x = net.node("Concat", rows, (classes + 32, sum(net.shapes[row][1] for row in rows)), axis=2)
    return net.transpose(x, 0, 2, 1), biases


NETWORKS: dict[str, tuple[Callable[[Layers, int], Made], str]] = {
    "yolov5n": (yolov5n, "yolov5"), "yolov8n": (yolov8n, "yolov8"), "yolo11n": (yolo11n, "yolov8"), "yolo26n": (yolo26n, "end_to_end"),
    "yolox-nano": (yolox_nano, "yolox"), "nanodet-m": (nanodet_m, "nanodet"),
}  # fmt: skip
