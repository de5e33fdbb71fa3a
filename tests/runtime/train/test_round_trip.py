"""What was trained here answers alike elsewhere: as a packed file, and in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import alula
from alula.host.onnx.exporter import export_onnx
from alula.host.pack import pack
from alula.host.zoo import ZOO
from alula.runtime.graph import Arrays, Graph, Node, TensorSpec
from alula.runtime.ops.contract import find
from alula.runtime.passes import optimise
from alula.runtime.planning.reference import evaluate
from alula.runtime.train import MSE, SGD, Trainer
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


# Blocks whose sum has one host when the network is optimised, and gets another one in a step
BLOCKS = {
    "main path first": "a=Conv3 x, r=Relu a, b=Conv3 r, c=Conv1 x, s=Add b c, y=Relu s",
    "products": "c=Conv1 x, t=Tanh c, a=Conv3 x, b=Conv1 a, m=Mul t b, e=Conv1 x, s=Add e m, y=Relu s",
    "a long path": "a=Conv3 x, r=Relu a, b=Conv3 r, q=Relu b, d=Conv3 q, c=Conv1 x, s=Add c d, y=Sigmoid s",
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_network_that_was_optimised_before_is_trained_as_itself(kind: str) -> None:
    rng = np.random.default_rng(0)
    nodes, constants = [], Arrays()
    for text in BLOCKS[kind].split(", "):
        output, _, call = text.partition("=")
        op, *names = call.split()
        inputs, attrs = tuple(names), {}
        if op.startswith("Conv"):
            k = int(op[-1])
            constants[f"{output}.w"] = (rng.standard_normal((16, k, k, 16)) / (4 * k)).astype(np.float32)
            op, inputs, attrs = "Conv", (*inputs, f"{output}.w"), {"pads": (k // 2,) * 4}
        nodes.append(Node(op, inputs, (output,), find(op, output).make_attrs(attrs, output), output))
    graph = Graph("block", {"x": TensorSpec(("n", 6, 5, 16))}, ("y",), tuple(nodes), constants)
    x, target = (rng.standard_normal((2, 6, 5, 16)).astype(np.float32) for _ in range(2))
    plain, again = (Trainer(form, SGD(lr=0.1), MSE(), threads=1) for form in (graph, optimise(graph)))
    wanted = float(np.mean((evaluate(graph, {"x": x})["y"] - target) ** 2))
    assert plain.step(x, target).loss == pytest.approx(wanted, rel=1e-5)
    assert again.step(x, target).loss == pytest.approx(wanted, rel=1e-5)
    for name in constants:
        np.testing.assert_allclose(again.values()[name], plain.values()[name], rtol=1e-4, atol=1e-6)
