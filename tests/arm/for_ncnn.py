"""Detectors as ncnn can take them: ncnn slices without steps only, and pnnx converts no choice of boxes in the network.

What is asked of ncnn is never more than of the others: a stem of slices is one convolution, a choice is left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.utils
from onnx import helper, numpy_helper
from onnx.shape_inference import infer_shapes

from tests.bench.networks import Network

Place = tuple[int, int]  # of a slice: its first row and column


def for_ncnn(network: Network, folder: Path) -> Network:
    """The network as ncnn takes it, with the same answer where nothing is left out; the network itself if it needs nothing."""
    model = onnx.load(network.onnx)
    changed = [change for change in (_join_stem(model), _cut_choice(model, list(network.values))) if change]
    if not changed:
        return network
    name = f"{network.name} {' '.join(changed)}"
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return replace(network, name=name, onnx=path)


def _join_stem(model: onnx.ModelProto) -> str:
    """Every second row and column of an image as channels, and a convolution of 3 x 3, as one of 6 x 6 with steps of 2.

    Source: YOLOv5's own change of its stem, https://github.com/ultralytics/yolov5/issues/4825
    """
    values = {value.name: value for value in model.graph.initializer}
    (image,) = (value.name for value in model.graph.input if value.name not in values)
    places: dict[str, Place] = {image: (0, 0)}
    for node in model.graph.node:
        if node.op_type == "Slice" and node.input[0] in places:
            start, _, axis, step = (int(numpy_helper.to_array(values[name]).item()) for name in node.input[1:])
            if step == 2 and axis in (2, 3):
                row, column = places[node.input[0]]
                places[node.output[0]] = (start, column) if axis == 2 else (row, start)
    for node in model.graph.node:
        if node.op_type == "Concat" and len(node.input) == 4 and all(name in places for name in node.input):
            (stem,) = (other for other in model.graph.node if node.output[0] in other.input)
            old = numpy_helper.to_array(values[stem.input[1]])
            weight = np.zeros((old.shape[0], old.shape[1] // 4, 6, 6), np.float32)
            for part, name in zip(np.split(old, 4, axis=1), node.input, strict=True):
                row, column = places[name]
                weight[:, :, row::2, column::2] = part
            values[stem.input[1]].CopyFrom(numpy_helper.from_array(weight, stem.input[1]))
            stem.input[0] = image
            del stem.attribute[:]
            stem.attribute.extend(
                helper.make_attribute(key, value)
                for key, value in (("kernel_shape", [6, 6]), ("strides", [2, 2]), ("pads", [2, 2, 2, 2]))
            )
            for other in [other for other in model.graph.node if set(other.output) & {*places, *node.output}]:
                model.graph.node.remove(other)
            return "with a stem of 6 x 6"
    return ""


def _cut_choice(model: onnx.ModelProto, inputs: list[str]) -> str:
    """End before TopK and what follows it: with what it chooses from, side by side, (1, N, 4 + C)."""
    known = {value.name for value in model.graph.initializer}
    chosen: set[str] = set()
    sources: list[str] = []  # the last one first: of YOLO26, scores are read before boxes
    for node in model.graph.node:
        if node.op_type == "TopK":
            chosen |= set(node.output)
        elif chosen & set(node.input):
            sources = [*(name for name in node.input if name not in chosen | known | set(sources)), *sources]
            chosen |= set(node.output)
    if not sources:
        return ""
    part = onnx.utils.Extractor(infer_shapes(model)).extract_model(inputs, sources)
    part.graph.node.append(helper.make_node("Concat", sources, ["sources"], "sources", axis=-1))
    del part.graph.output[:]
    part.graph.output.append(helper.make_tensor_value_info("sources", onnx.TensorProto.FLOAT, None))
    model.CopyFrom(part)
    return "before its choice"
