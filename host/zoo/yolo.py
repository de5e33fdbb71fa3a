"""A detector of the shape of YOLOv8n (3.2 M parameters), with the names its weights have there.

Written from the published structure: three scales, no anchors, each side of a box as the mean of 16 bins. The output is
decoded as exporters write it: (batch, 4 + classes, boxes); centre x, centre y, width and height in pixels, then a
probability for each class. 8,400 boxes at 640 x 640, 2,100 at 320 x 320. The weights are random.
"""

from __future__ import annotations

import math

import numpy as np

from alula.host.zoo.entry import Entry
from alula.host.zoo.layers import Net
from alula.runtime.graph import Array

_EPSILON = 1e-3
_STRIDES = (8, 16, 32)
_BINS = 16
_OBJECTS = 5.0  # in an image of 640 x 640: what the class scores expect at the start


def yolo_nano(net: Net, x: str, num_classes: int) -> str:
    """Backbone, two ways through the pyramid, and a head for each scale."""
    kept = {}
    x = _conv_norm(net, _conv_norm(net, x, "model.0", 16, 3, 2), "model.1", 32, 3, 2)
    x = _stage(net, x, "model.2", 32, 1, shortcut=True)
    for number, width, repeats in ((3, 64, 2), (5, 128, 2), (7, 256, 1)):
        x = _conv_norm(net, x, f"model.{number}", width, 3, 2)
        kept[number + 1] = x = _stage(net, x, f"model.{number + 1}", width, repeats, shortcut=True)
    kept[9] = x = _pooled(net, x, "model.9", 256)
    for number, width, other in ((10, 128, 6), (13, 64, 4)):
        x = net.concat([net.upsample(x, f"model.{number}"), kept[other]], f"model.{number + 1}")
        kept[number + 2] = x = _stage(net, x, f"model.{number + 2}", width, 1)
    for number, width, other in ((16, 128, 12), (19, 256, 9)):
        x = _conv_norm(net, x, f"model.{number}", net.channels(x), 3, 2)
        x = net.concat([x, kept[other]], f"model.{number + 1}")
        kept[number + 2] = x = _stage(net, x, f"model.{number + 2}", width, 1)
    return _detect(net, [kept[15], kept[18], kept[21]], "model.22", num_classes)


def _conv_norm(net: Net, x: str, name: str, width: int, kernel: int, stride: int = 1) -> str:
    return net.conv_norm(x, (f"{name}.conv", f"{name}.bn"), width, kernel, stride, "silu", epsilon=_EPSILON)


def _stage(net: Net, x: str, name: str, width: int, repeats: int, *, shortcut: bool = False) -> str:
    """Half of the channels through small residual blocks; what each makes is kept, and all of it mixed at the end."""
    half = width // 2
    parts = net.split(_conv_norm(net, x, f"{name}.cv1", width, 1), f"{name}.split", half, half)
    for number in range(repeats):
        inner = f"{name}.m.{number}"
        y = _conv_norm(net, _conv_norm(net, parts[-1], f"{inner}.cv1", half, 3), f"{inner}.cv2", half, 3)
        parts.append(net.add(parts[-1], y, f"{inner}.add") if shortcut else y)
    return _conv_norm(net, net.concat(parts, f"{name}.concat"), f"{name}.cv2", width, 1)


def _pooled(net: Net, x: str, name: str, width: int) -> str:
    """The maxima of 5 x 5, 9 x 9 and 13 x 13 beside the image itself."""
    parts = [_conv_norm(net, x, f"{name}.cv1", net.channels(x) // 2, 1)]
    for number in range(3):
        parts.append(net.max_pool(parts[-1], f"{name}.m.{number}", 5, 1, 2))
    return _conv_norm(net, net.concat(parts, f"{name}.concat"), f"{name}.cv2", width, 1)


def _detect(net: Net, scales: list[str], name: str, num_classes: int) -> str:
    first = net.channels(scales[0])
    box_width, class_width = max(16, first // 4, 4 * _BINS), max(first, min(num_classes, 100))
    columns = 4 * _BINS + num_classes
    rows, places = [], []
    for number, (x, stride) in enumerate(zip(scales, _STRIDES, strict=True)):
        box, score = x, x
        for part in range(2):
            box = _conv_norm(net, box, f"{name}.cv2.{number}.{part}", box_width, 3)
            score = _conv_norm(net, score, f"{name}.cv3.{number}.{part}", class_width, 3)
        box = net.conv(box, f"{name}.cv2.{number}.2", 4 * _BINS, 1, bias=True, bias_mean=1.0)
        prior = math.log(_OBJECTS / num_classes / (640 / stride) ** 2)
        score = net.conv(score, f"{name}.cv3.{number}.2", num_classes, 1, bias=True, bias_mean=prior)
        _, h, w = net.shapes[x]
        both = net.concat([box, score], f"{name}.concat.{number}")
        rows.append(net.reshape(both, f"{name}.rows.{number}", (0, columns, h * w), (columns, h * w)))
        places.append(_places(h, w, stride))
    centres, strides = (np.concatenate(parts, axis=-1) for parts in zip(*places, strict=True))
    boxes = centres.shape[-1]
    x = net.node("Concat", rows, f"{name}.rows", shape=(columns, boxes), axis=2)
    sides, scores = net.split(x, f"{name}.split", 4 * _BINS, num_classes)
    sides = _mean_of_bins(net, sides, f"{name}.dfl", boxes)
    found = _boxes(net, sides, name, net.constant(f"{name}.centres", centres))
    found = net.node("Mul", [found, net.constant(f"{name}.strides", strides)], f"{name}.boxes")
    return net.concat([found, net.activation(scores, "sigmoid")], f"{name}.output")


def _places(h: int, w: int, stride: int) -> tuple[Array, Array]:
    """Centres of the pixels, in pixels (1, 2, h * w), and the stride of each (1, 1, h * w)."""
    ys, xs = np.meshgrid(np.arange(h) + 0.5, np.arange(w) + 0.5, indexing="ij")
    return np.stack([xs.ravel(), ys.ravel()])[None], np.full((1, 1, h * w), stride)


def _mean_of_bins(net: Net, x: str, name: str, boxes: int) -> str:
    """Distances of the sides from the centre (4, boxes): the mean of 0 to 15 with shares that are a softmax."""
    x = net.reshape(x, f"{name}.bins", (0, 4, _BINS, boxes), (4, _BINS, boxes))
    x = net.transpose(x, f"{name}.turn", (0, 2, 1, 3), (_BINS, 4, boxes))
    x = net.node("Softmax", [x], f"{name}.softmax", axis=1)
    weight = net.weight(
        f"{name}.conv.weight", (1, _BINS, 1, 1), lambda: np.arange(_BINS, dtype=np.float32).reshape(1, _BINS, 1, 1)
    )
    x = net.node("Conv", [x, weight], f"{name}.conv", shape=(1, 4, boxes), kernel_shape=[1, 1])
    return net.reshape(x, name, (0, 4, boxes), (4, boxes))


def _boxes(net: Net, sides: str, name: str, centres: str) -> str:
    """Centre and size, from the distances left, top, right, bottom."""
    before, after = net.split(sides, f"{name}.sides", 2, 2)
    low = net.node("Sub", [centres, before], f"{name}.low", 1.0, net.shapes[before])
    high = net.node("Add", [centres, after], f"{name}.high", 1.0, net.shapes[before])
    middle = net.node("Add", [low, high], f"{name}.ends")
    middle = net.node("Div", [middle, net.constant("two", 2)], f"{name}.middle")
    return net.concat([middle, net.node("Sub", [high, low], f"{name}.size")], f"{name}.found")


NETWORKS = {
    "yolo-nano": Entry(
        yolo_nano, (3, 640, 640), 80, 3_157_200, "Ultralytics", "detect", 32, output="output0", decoder="yolov8"
    )
}
