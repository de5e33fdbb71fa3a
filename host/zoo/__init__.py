"""The networks of our field as ONNX models, with seeded random weights, given weights, or trained ones if they exist.

python -c "from alula.host.zoo import build; open('r20.onnx', 'wb').write(build('resnet20-cifar').SerializeToString())"

A family is a file that ends in a dictionary `NETWORKS`. To add one, write such a file and add it to FAMILIES.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from alula.host.zoo import classic, deit, efficientnet, mobilenet, mobilevit, resnet, shufflenet, unet, yolo
from alula.host.zoo.entry import Entry
from alula.host.zoo.layers import Net
from alula.host.zoo.pretrained import PRETRAINED, pretrained
from alula.runtime.artifact.task import DETECT, ONNX_KEY, Task
from alula.runtime.errors import GraphError, ShapeError, require
from alula.runtime.graph import Array

if TYPE_CHECKING:
    import onnx

__all__ = ["PRETRAINED", "ZOO", "Entry", "build", "pretrained"]

FAMILIES = (classic, resnet, mobilenet, shufflenet, efficientnet, mobilevit, deit, yolo, unet)
ZOO: dict[str, Entry] = {name: entry for family in FAMILIES for name, entry in family.NETWORKS.items()}


def build(
    name: str,
    seed: int = 0,
    num_classes: int | None = None,
    weights: Mapping[str, Array] | str | None = None,
    size: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """A network as an ONNX model from images (batch, C, H, W) float32 to logits (batch, num_classes).

    A detector gives (batch, 4 + num_classes, boxes), a segmentation (batch, num_classes, H, W).

    weights : arrays by PyTorch's names (`conv1.weight`, `bn1.running_mean`), "pretrained", or None for random ones
    size    : (H, W), if not the network's own
    raise   : GraphError on an unknown name, ShapeError or ImportFileError on weights or a size that do not fit,
              MissingExtraError if the trained weights are not installed
    """
    if name not in ZOO:
        near = difflib.get_close_matches(name, ZOO, 3, 0.4)
        raise GraphError(
            f"zoo: expected a network that `alula zoo` lists, got {name[:80]!r}; "
            f"{'perhaps ' + ' or '.join(near) if near else 'choose one of these'}"
        )
    entry = ZOO[name]
    if size is None:
        size = entry.input_shape[1:]
    if size[0] % entry.multiple or size[1] % entry.multiple or min(size) < 1:
        raise ShapeError(
            f"zoo: expected multiples of {entry.multiple} as the size of {name}, got {size[0]}x{size[1]}; choose another"
        )
    trained = isinstance(weights, str)
    if isinstance(weights, str):
        if weights != "pretrained":
            raise GraphError(f"zoo: expected weights by name or 'pretrained', got {weights!r}; load the file first")
        weights = pretrained(name)
    net = Net(name, seed, weights)
    output = entry.make(net, net.input("input", (entry.input_shape[0], *size)), num_classes or entry.num_classes)
    model = net.model(output, entry.output)
    # What is certain: how boxes are read, and what trained weights expect of an image
    how = replace(PRETRAINED[name].preprocessing, size=size) if trained else None
    if how or entry.decoder:
        task = Task(DETECT, preprocessing=how, decoder=entry.decoder) if entry.decoder else Task(preprocessing=how)
        require("onnx", "host", "building a network of the zoo").helper.set_model_props(model, {ONNX_KEY: task.text()})
    return model
