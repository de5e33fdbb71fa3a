"""Training that is counted: gradients of single convolutions, and whole steps beside torch's aarch64 wheel.

A step is forward, cross-entropy, backward and SGD with momentum and weight decay, with the batch's statistics, as in
tests/bench/training.py. Both engines start from the same weights; their losses of the first steps must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.ops.contract import find
from tests.arm.boards import Board

RECIPE = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}
CHECKED_STEPS = 2
TOLERANCE_RATIO = 1e-3  # of a loss
IMAGE, CLASSES = (3, 32, 32), 10
# What is trained -> network of the zoo, images at a time
STEPS = {
    "resnet20 b8": ("resnet20-cifar", 8),
    "mobilenetv2 b1": ("mobilenetv2-cifar", 1),
    "resnet20 b1": ("resnet20-cifar", 1),
}

# (height and width, channels in, channels out, kernel, stride): ResNet-20's 3x3, then 1x1 of MobileNetV2-224
CONVOLUTIONS = (
    (32, 16, 16, 3, 1), (32, 16, 32, 3, 2), (16, 32, 32, 3, 1), (16, 32, 64, 3, 2), (8, 64, 64, 3, 1),
    (56, 24, 144, 1, 1), (56, 144, 24, 1, 1), (28, 32, 192, 1, 1), (28, 192, 32, 1, 1), (14, 96, 576, 1, 1),
    (14, 576, 96, 1, 1), (7, 160, 960, 1, 1), (7, 960, 160, 1, 1),
)  # fmt: skip
# (height and width, channels, stride) of 3x3 depthwise ones
DEPTHWISE = ((112, 32, 1), (56, 144, 2), (28, 192, 1), (14, 576, 2), (7, 960, 1))
SHIFT = "shift.value"  # a buffer: trained because it is named
GROUPS = {"ConvTranspose": "input_grad", "ConvWeightGrad": "weight_grad"}  # of the gradients' nodes


@dataclass(frozen=True)
class GradientLayer:
    """A convolution whose gradients are counted: with respect to its input, and to its weights."""

    size: int
    c_in: int
    c_out: int
    k: int
    stride: int
    group: int = 1

    @property
    def name(self) -> str:
        """Its shape, as single layers are named."""
        channels = str(self.c_in) if self.group > 1 else f"{self.c_in}-{self.c_out}"
        return f"{self.size}x{self.size} {channels} {self.k}x{self.k}" + (f" /{self.stride}" if self.stride > 1 else "")

    @property
    def out(self) -> int:
        """Height and width of its output."""
        return -(-self.size // self.stride)

    @property
    def macs(self) -> int:
        """Direct multiply-adds of the convolution, and of each gradient."""
        return self.out**2 * self.k**2 * self.c_out * self.c_in // self.group

    def graph(self) -> Graph:
        """The convolution of a shifted input, so that the input's gradient is needed where the shift is trained."""
        rng = np.random.default_rng(0)
        weight = rng.standard_normal((self.c_out, self.k, self.k, self.c_in // self.group)).astype(np.float32)
        attrs = {"pads": (self.k // 2,) * 4, "strides": (self.stride,) * 2, "group": self.group}
        nodes = (
            Node("Add", ("x", SHIFT), ("shifted",), find("Add", "shift").make_attrs({}, "shift"), "shift"),
            Node("Conv", ("shifted", "weight"), ("y",), find("Conv", "conv").make_attrs(attrs, "conv"), "conv"),
        )
        constants = Arrays({SHIFT: rng.standard_normal(self.c_in).astype(np.float32), "weight": weight})
        return Graph("layer", {"x": TensorSpec((1, self.size, self.size, self.c_in))}, ("y",), nodes, constants)

    def batch(self) -> tuple[Array, Array]:
        """An input and a target."""
        rng = np.random.default_rng(0)
        shapes = (1, self.size, self.size, self.c_in), (1, self.out, self.out, self.c_out)
        x, y = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
        return x, y


def gradient_layers() -> Iterator[GradientLayer]:
    """All of them."""
    for shape in CONVOLUTIONS:
        yield GradientLayer(*shape)
    for size, c, stride in DEPTHWISE:
        yield GradientLayer(size, c, c, 3, stride, c)


def batch_of(name: str) -> tuple[Array, Array]:
    """The images and labels of a step."""
    rng, count = np.random.default_rng(0), STEPS[name][1]
    return rng.standard_normal((count, *IMAGE)).astype(np.float32), rng.integers(0, CLASSES, count)


def prepare(names: list[str], folder: Path) -> dict[str, tuple[Path, Path]]:
    """Of each step, its network as an ONNX file and packed so that it stays trainable."""
    from alula.host.onnx.importer import import_onnx
    from alula.host.pack import pack
    from alula.host.zoo import build

    files = {}
    for zoo in {STEPS[name][0] for name in names}:
        model = build(zoo)
        onnx, packed = folder / f"{zoo}.onnx", folder / f"{zoo}.alula"
        onnx.write_bytes(model.SerializeToString())
        pack({zoo: import_onnx(model)}, packed, trainable=True)
        files[zoo] = onnx, packed
    return {name: files[STEPS[name][0]] for name in names}


def measure(
    boards: list[Board], files: dict[str, tuple[Path, Path]], jobs: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Count torch's steps on every board: CPU, `training <step>`, engine -> instructions, losses, version."""
    from tests.arm.rivals import run_counted

    work = [(board, name) for name in files for board in boards]
    with ThreadPoolExecutor(jobs) as pool:
        rows = list(pool.map(lambda item: run_counted(item[0], "torch", files[item[1]][0], item[1]), work))
    counts: dict[str, dict[str, dict[str, Any]]] = {board.cpu: {} for board in boards}
    for (board, name), row in zip(work, rows, strict=True):
        counts[board.cpu][f"training {name}"] = {"torch": row}
    return counts


def agree(losses: list[float], theirs: list[float]) -> bool:
    """Whether two engines lost the same in every step."""
    return all(abs(a - b) <= TOLERANCE_RATIO * abs(b) for a, b in zip(losses, theirs, strict=True))
