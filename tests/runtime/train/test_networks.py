"""Gradients of whole networks beside torch's, and a few steps of training beside torch's optimiser.

The truth is torch in float64. Ours is float32, as is torch's own float32: where a rounded activation falls on the other
side of a kink, or a batch is normalised over few pixels, both are off; so ours may be twice as far off as torch's float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from alula.host.onnx.importer import import_onnx
from alula.host.zoo import ZOO, build
from alula.runtime.graph import Array
from alula.runtime.train import CTC, SGD, CrossEntropy, Trainer

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

TOLERANCE = 1e-4
BATCHES = 3
ROUNDED, NOISE = 12, 4e-6  # draws; relative, what twenty layers round: a smooth network moves by 1e-5 then
SHARE = 1e-4  # of the largest gradient of the network: smaller ones are measured against this


def _loss(scores: torch.Tensor, targets: tuple[Array, ...]) -> torch.Tensor:
    given = [torch.from_numpy(target) for target in targets]
    if len(given) == 1:
        return torch.nn.functional.cross_entropy(scores, given[0])
    return torch.nn.functional.ctc_loss(torch.log(scores).transpose(0, 1), *given)  # it ends in a softmax


def _torch_gradients(
    model: onnx.ModelProto, x: Array, targets: tuple[Array, ...], dtype: torch.dtype
) -> dict[str, Array]:
    from tests.torch_network import TorchNetwork

    network = TorchNetwork(model).train()
    network = network.double() if dtype == torch.float64 else network
    _loss(network(torch.from_numpy(x).to(dtype)), targets).backward()
    return {name: network.parameter(name).grad.numpy() for name, at in network.places.items() if at.startswith("p")}


def _as_onnx(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Channels last to channels first."""
    return np.moveaxis(gradient, -1, 1) if len(shape) > 2 else gradient.reshape(shape)


def _worst(gradients: dict[str, Array], truth: dict[str, Array]) -> float:
    top = max(np.abs(array).max() for array in truth.values())
    worst = 0.0
    for name, true in truth.items():
        scale = max(np.linalg.norm(true), SHARE * top * np.sqrt(true.size))
        worst = max(worst, float(np.linalg.norm(_as_onnx(gradients[name], true.shape) - true) / scale))
    return worst


def _worst_of_rounded(model: onnx.ModelProto, x: Array, targets: tuple[Array, ...], truth: dict[str, Array]) -> float:
    """How far torch's gradients move in float64 when every input is off by what float32 loses in the layers."""
    rng, found = np.random.default_rng(1), 0.0
    for _ in range(ROUNDED):
        near = x * (1 + NOISE * rng.uniform(-1, 1, x.shape))
        moved = _torch_gradients(model, near, targets, torch.float64)
        found = max(found, _worst({n: np.moveaxis(a, 1, -1) if a.ndim > 2 else a for n, a in moved.items()}, truth))
    return 2 * found


def _check(model: onnx.ModelProto, trainer: Trainer, batches: Iterator[tuple[Array, ...]]) -> None:
    """Gradients of a batch are torch's. Some ReLU may be so near its kink that no two engines agree on its side: then
    another batch is tried, but only if torch's own float64 moves as far when the input is off by what float32 loses."""
    for x, *targets in itertools.islice(batches, BATCHES):
        truth = _torch_gradients(model, x, tuple(targets), torch.float64)
        assert set(truth) == set(trainer.trained)
        rounded = _torch_gradients(model, x, tuple(targets), torch.float32)
        theirs = {name: np.moveaxis(a, 1, -1) if a.ndim > 2 else a for name, a in rounded.items()}
        worst = _worst(trainer.gradients(x, *targets), truth)
        if worst <= max(TOLERANCE, 2 * _worst(theirs, truth)):
            return
        assert worst <= _worst_of_rounded(model, x, tuple(targets), truth), (
            f"no kink explains a difference of {worst:.2g}"
        )
    pytest.fail(f"gradients differ from torch's by {worst:.2g} in {BATCHES} batches")


@pytest.mark.parametrize(
    ("name", "batch"),
    [("lenet-5", 4), ("resnet20-cifar", 2), ("mobilenetv2-cifar", 2), ("vgg16-cifar", 2), ("efficientnet-lite0", 1)],
)
def test_gradients_of_a_network_are_torchs(name: str, batch: int) -> None:
    model, rng = build(name), np.random.default_rng(0)

    def batches() -> Iterator[tuple[Array, ...]]:
        while True:
            x = rng.standard_normal((batch, *ZOO[name].input_shape)).astype(np.float32)
            yield x, rng.integers(0, ZOO[name].num_classes, batch)

    _check(model, Trainer(import_onnx(model).graph, loss=CrossEntropy(), threads=1), batches())


def test_gradients_of_the_recogniser_with_ctc_are_torchs() -> None:
    from alula.demo.networks import ocr_models

    models = ocr_models()
    if models is None:
        pytest.skip("the OCR networks are not installed")
    model, rng = onnx.load(models["recognise"]), np.random.default_rng(0)

    def batches() -> Iterator[tuple[Array, ...]]:
        while True:
            x = rng.standard_normal((2, 3, 48, 160)).astype(np.float32)
            yield x, rng.integers(1, 6000, (2, 6)), np.full(2, 20), np.array([6, 4])

    _check(model, Trainer(import_onnx(model).graph, loss=CTC(max_labels=6), threads=1), batches())


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_change_weights_and_running_statistics_as_torch_does(nesterov: bool) -> None:
    from tests.torch_network import TorchNetwork

    recipe = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-3, "nesterov": nesterov}
    model, rng = build("resnet20-cifar"), np.random.default_rng(0)
    trainer = Trainer(import_onnx(model).graph, SGD(**recipe), threads=1)
    network = TorchNetwork(model).train()
    optimizer = torch.optim.SGD(network.parameters(), **recipe)
    for _ in range(3):
        x, labels = rng.standard_normal((2, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, 2)
        loss = trainer.step(x, labels).loss
        optimizer.zero_grad()
        expected = _loss(network(torch.from_numpy(x)), (labels,))
        expected.backward()
        optimizer.step()
        assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    values = trainer.values()
    for name, place in network.places.items():
        true = getattr(network, place).detach().numpy()
        assert np.abs(_as_onnx(values[name], true.shape) - true).max() <= 2e-3 * np.abs(true).max(), name
    network.eval()
    answer = trainer.model()(x)
    expected = network(torch.from_numpy(x)).detach().numpy()
    assert np.abs(answer - expected).max() <= 2e-3 * np.abs(expected).max()
