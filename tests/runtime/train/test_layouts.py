"""Networks with channels last, or in float16, are trained like others: images come in the order that the input wants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alula.host.onnx.importer import import_onnx
from alula.runtime.errors import ShapeError
from alula.runtime.graph import Array, Graph
from alula.runtime.train import SGD, Trainer
from alula.runtime.train.classes import Images, count_classes
from tests.host.onnx_models import model, node

X = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 3)).astype(np.uint8)
Y = np.arange(8) % 2


def network(last: bool, shape: list[int | str | None], dtype: str = "float32") -> Graph:
    """A convolution and a classifier, fed channels last or first."""
    rng = np.random.default_rng(1)
    weights = {"w": rng.standard_normal((4, 3, 3, 3)), "v": rng.standard_normal((4, 2))}
    held: dict[str, Array] = {name: (array / 4).astype(dtype) for name, array in weights.items()}
    start = [node("Transpose", "x", "t", perm=[0, 3, 1, 2])] if last else []
    body = [node("Conv", "t w" if last else "x w", "c"), node("Relu", "c", "r"), node("GlobalAveragePool", "r", "p"),
            node("Flatten", "p", "f"), node("MatMul", "f v")]  # fmt: skip
    return import_onnx(model([*start, *body], {"x": np.zeros(1, dtype)}, held, shapes={"x": shape})).graph


def losses(graph: Graph, path: Path, images: Images) -> list[float]:
    """Of two steps."""
    loader = images.batches(path, graph, count_classes(graph, "net"), 4, 0).train
    trainer = Trainer(graph, optimizer=SGD(0.1), threads=1)
    return [trainer.step(batch.x, batch.y).loss for batch in loader]


def test_channels_first_last_and_float16_train_alike(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x_train=X, y_train=Y)
    first = losses(network(False, ["n", 3, 6, 5]), tmp_path / "set.npz", Images())
    last = losses(network(True, ["n", 6, 5, 3]), tmp_path / "set.npz", Images())
    half = losses(network(True, ["n", 6, 5, 3], "float16"), tmp_path / "set.npz", Images())
    np.testing.assert_allclose(last, first, rtol=1e-5)
    np.testing.assert_allclose(half, first, rtol=1e-2)


def test_a_shape_that_allows_both_orders_needs_to_be_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x_train=X[:, :3, :, :], y_train=Y)
    graph = network(True, ["n", 3, 5, 3])
    with pytest.raises(ShapeError, match="--layout NCHW or NHWC"):
        losses(graph, tmp_path / "set.npz", Images())
    assert all(np.isfinite(losses(graph, tmp_path / "set.npz", Images(layout="NHWC"))))


def test_images_of_other_channels_are_trained_without_preprocessing_to_write(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    np.savez(tmp_path / "set.npz", x_train=rng.integers(0, 256, (8, 6, 5, 4)).astype(np.uint8), y_train=Y)
    held = {
        "w": rng.standard_normal((4, 4, 3, 3)).astype(np.float32),
        "v": rng.standard_normal((4, 2)).astype(np.float32),
    }
    body = [
        node("Conv", "x w", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "f"),
        node("MatMul", "f v"),
    ]
    graph = import_onnx(model(body, {"x": np.zeros(1, np.float32)}, held, shapes={"x": ["n", 4, 6, 5]})).graph
    batches = Images().batches(tmp_path / "set.npz", graph, 2, 4, 0)
    assert batches.train.sample_shape == (4, 6, 5) and batches.preprocessing is None
    np.savez(tmp_path / "set.npz", x_train=X, y_train=Y)
    made = Images().batches(tmp_path / "set.npz", network(False, ["n", 3, 6, 5]), 2, 4, 0).preprocessing
    assert made and made.size == (6, 5) and len(made.mean) == 3
