"""ONNX's losses: classes on axis 1, both outputs, every reduction, against onnxruntime; ours has classes last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import alula
from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack
from alula.runtime.errors import ShapeError
from alula.runtime.graph import Array
from tests.host.onnx_models import assert_same_as_onnxruntime, model, node, onnxruntime_answers

CLASSES = 5


def scores(*places: int) -> Array:
    return np.random.default_rng(0).standard_normal((3, CLASSES, *places)).astype(np.float32)


def labels(*places: int, ignored: int | None = None) -> Array:
    made = np.random.default_rng(1).integers(0, CLASSES, (3, *places))
    if ignored is not None:
        made.reshape(-1)[::2] = ignored
    return made


WEIGHTS = {"w": np.linspace(0.2, 1.4, CLASSES, dtype=np.float32)}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("op", ["SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"])
def test_losses_are_onnxs(op: str, reduction: str) -> None:
    for places in ((), (4,), (2, 3)):
        for ignored in (None, 1, -100, 9):
            inputs = {"x": scores(*places), "t": labels(*places, ignored=ignored)}
            extra = {} if ignored is None else {"ignore_index": ignored}
            for names, constants in (("x t", {}), ("x t w", WEIGHTS)):
                assert_same_as_onnxruntime(
                    model([node(op, names, reduction=reduction, **extra)], inputs, constants), inputs
                )


def test_the_second_output_is_the_log_softmax_over_axis_1_also_from_a_file(tmp_path: Path) -> None:
    inputs = {"x": scores(2), "t": labels(2).astype(np.int32)}
    proto = model([node("SoftmaxCrossEntropyLoss", "x t", "y p", reduction="none")], inputs, outputs=("y", "p"))
    pack({"loss": import_onnx(proto)}, tmp_path / "loss.alula")
    found = alula.load(tmp_path / "loss.alula").run(inputs)
    for name, want in zip(("y", "p"), onnxruntime_answers(proto, inputs), strict=True):
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-6)


def test_a_label_that_is_no_class_is_refused() -> None:
    inputs = {"x": scores(), "t": np.array([0, 1, CLASSES])}
    graph = import_onnx(model([node("NegativeLogLikelihoodLoss", "x t")], inputs)).graph
    with pytest.raises(ShapeError, match="expected labels from 0 to 4"):
        alula.runtime.model.Model(graph).run(inputs)
