"""LeNet-5 on noise, for tests of what surrounds a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from alula.host.onnx.importer import import_onnx
from alula.host.zoo import build
from alula.runtime.graph import Array, Graph
from alula.runtime.train import Trainer

BATCH = 6


def network(name: str = "lenet-5") -> Graph:
    """A network of the zoo."""
    return import_onnx(build(name)).graph


def batches(count: int, size: int = BATCH, seed: int = 0) -> list[tuple[Array, Array]]:
    """Images (size, 1, 28, 28) and labels."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((size, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, size)) for _ in range(count)
    ]


def trainer(*arguments: Any, **options: Any) -> Trainer:
    """A trainer of LeNet-5 on one thread."""
    return Trainer(network(), *arguments, threads=1, **options)
