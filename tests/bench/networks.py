"""The six networks that benchmarks run: made, packed without loss, with an input each that gives a telling answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alula.demo.networks import INSTALL_OCR
from alula.demo.networks import ocr_models as find_ocr_models
from alula.host.inputs import Shapes
from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack
from alula.host.zoo import build
from alula.runtime.graph import Array

IMAGE = (1, 3, 224, 224)
# name -> (network of the zoo and whether its weights are trained, or file of the OCR package), input shape
NETWORKS: Mapping[str, tuple[str, bool, tuple[int, ...]]] = {
    "resnet20": ("resnet20-cifar", False, (1, 3, 32, 32)),
    "resnet74": ("resnet74-cifar", False, (1, 3, 32, 32)),
    "mobilenetv2": ("mobilenetv2-224", False, IMAGE),
    "efficientnet-lite0": ("efficientnet-lite0", True, IMAGE),
    "det": ("ch_PP-OCRv4_det_infer.onnx", False, (1, 3, 480, 640)),
    "rec": ("ch_PP-OCRv4_rec_infer.onnx", False, (1, 3, 48, 320)),
}


@dataclass(frozen=True)
class Network:
    """One network on disk, for both engines."""

    name: str
    onnx: Path
    packed: Path
    values: dict[str, Array]

    @property
    def shapes(self) -> Shapes:
        """The shape of each input."""
        return {name: array.shape for name, array in self.values.items()}


def ocr_models() -> Path:
    """The folder of the OCR networks; the package is found, not imported."""
    models = find_ocr_models()
    if models is None:
        sys.exit(f"expected the OCR networks, got none; install them with: {INSTALL_OCR}")
    return next(iter(models.values())).parent


def prepare(name: str, folder: Path) -> Network:
    """Write the ONNX file if it has to be made, and the packed one."""
    if name not in NETWORKS:
        sys.exit(f"expected networks of {', '.join(NETWORKS)}, got {name}")
    source, trained, shape = NETWORKS[name]
    if source.endswith(".onnx"):
        path = ocr_models() / source
    else:
        path = folder / f"{name}.onnx"
        path.write_bytes(build(source, weights="pretrained" if trained else None).SerializeToString())
    imported = import_onnx(path, name)
    packed = folder / f"{name}.alula"
    pack({name: imported}, packed)
    (key,) = imported.graph.inputs
    return Network(
        name, path, packed, {key: sign(shape) if len(shape) == 4 and source.endswith(".onnx") else noise(shape)}
    )


def noise(shape: tuple[int, ...]) -> Array:
    """Seeded standard normal values."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def sign(shape: tuple[int, ...]) -> Array:
    """Dark letters on a light ground, -1 to 1: on noise alone a text network's answer is all but constant."""
    import cv2

    _, channels, height, width = shape
    image = np.full((height, width, channels), 220, np.uint8)
    for row in range(max(1, height // 96)):
        at = (8, min(height - 10, row * 96 + 38))
        cv2.putText(image, f"ALULA {row + 20} WEST", at, cv2.FONT_HERSHEY_SIMPLEX, 1.2, (30, 40, 50), 3, cv2.LINE_AA)
    values = image.astype(np.float32) / 127.5 - 1 + 0.02 * noise((height, width, channels))
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])
