"""What was trained here answers alike elsewhere: as a packed file, and in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import alula
from alula.host.onnx.exporter import export_onnx
from alula.host.pack import pack
from alula.host.zoo import ZOO
from alula.runtime.train import SGD, Trainer
from tests.runtime.train.digits import network


@pytest.mark.parametrize("name", ["lenet-5", "resnet20-cifar", "mobilenetv2-cifar"])
@pytest.mark.parametrize("trainable", [True, False])
def test_a_trained_network_answers_alike_everywhere(name: str, trainable: bool, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, *ZOO[name].input_shape)).astype(np.float32), rng.integers(0, 10, 4)
    trainer = Trainer(network(name), SGD(1e-3, 0.9), threads=1)
    before = np.asarray(trainer.model()(x))
    for _ in range(3):
        trainer.step(x, y)
    answer = np.asarray(trainer.model()(x))
    tolerance = 1e-4 * np.abs(answer).max()
    assert np.abs(answer - before).max() > 10 * tolerance
    path = tmp_path / "trained.alula"
    pack({name: trainer.trained_graph()}, path, trainable=trainable)
    packed = alula.load(path, threads=1)
    assert np.abs(np.asarray(packed(x)) - answer).max() <= tolerance
    session = onnxruntime.InferenceSession(export_onnx(trainer.trained_graph()).SerializeToString())
    (theirs,) = session.run(None, {session.get_inputs()[0].name: x})
    assert np.abs(theirs - answer).max() <= tolerance
    # A file that was kept trainable goes on as the trainer does
    if trainable:
        assert packed.trainer(optimizer=SGD(1e-3), threads=1).step(x, y).loss == pytest.approx(
            trainer.step(x, y).loss, rel=1e-4
        )
