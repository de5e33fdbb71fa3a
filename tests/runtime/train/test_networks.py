"""Gradients of whole networks beside torch's, and a few steps of training beside torch's optimiser.

The truth is torch in float64. Ours is float32, as is torch's own float32: where a batch is normalised over few pixels, both
are off; so ours may be twice as far off as torch's float32. Where a rounded activation falls on the other side of a kink,
either is off by a percent, for that batch; a wrong rule is wrong for every batch. So one batch of a few must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from alula.host.onnx_import import import_onnx
from alula.host.zoo import ZOO, build
from alula.runtime.graph import Array
from alula.runtime.train import CTC, SGD, CrossEntropy, Trainer

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

TOLERANCE = 1e-4
BATCHES = 3
SHARE = 1e-4  # of the largest gradient of the network: smaller ones are measured against this


def _loss(scores: torch.Tensor, targets: Sequence[Array]) -> torch.Tensor:
    given = [torch.from_numpy(target) for target in targets]
    if len(given) == 1:
        return torch.nn.functional.cross_entropy(scores, given[0])
    return torch.nn.functional.ctc_loss(torch.log(scores).transpose(0, 1), *given)  # it ends in a softmax


def _torch_gradients(
    model: onnx.ModelProto, x: Array, targets: Sequence[Array], dtype: torch.dtype
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


def _check(model: onnx.ModelProto, trainer: Trainer, draw: Callable[[np.random.Generator], tuple[Array, ...]]) -> None:
    found = []
    for seed in range(BATCHES):
        x, *targets = draw(np.random.default_rng(seed))
        truth = _torch_gradients(model, x, targets, torch.float64)
        assert set(truth) == set(trainer.trained)
        rounded = _torch_gradients(model, x, targets, torch.float32)
        theirs = {name: np.moveaxis(a, 1, -1) if a.ndim > 2 else a for name, a in rounded.items()}
        found.append((_worst(trainer.gradients(x, *targets), truth), max(TOLERANCE, 2 * _worst(theirs, truth))))
        if found[-1][0] <= found[-1][1]:
            return
    raise AssertionError(f"no batch agrees: (difference, allowed) of each: {found}")


@pytest.mark.parametrize(
    ("name", "batch"),
    [("lenet-5", 4), ("resnet20-cifar", 2), ("mobilenetv2-cifar", 2), ("vgg16-cifar", 2), ("efficientnet-lite0", 1)],
)
def test_gradients_of_a_network_are_torchs(name: str, batch: int) -> None:
    def draw(rng: np.random.Generator) -> tuple[Array, ...]:
        x = rng.standard_normal((batch, *ZOO[name].input_shape)).astype(np.float32)
        return x, rng.integers(0, ZOO[name].num_classes, batch)

    model = build(name)
    _check(model, Trainer(import_onnx(model).graph, loss=CrossEntropy(), threads=1), draw)


def test_gradients_of_the_recogniser_with_ctc_are_torchs() -> None:
    from alula.demo.networks import ocr_models

    models = ocr_models()
    if models is None:
        pytest.skip("the OCR networks are not installed")

    def draw(rng: np.random.Generator) -> tuple[Array, ...]:
        x = rng.standard_normal((2, 3, 48, 160)).astype(np.float32)
        return x, rng.integers(1, 6000, (2, 6)), np.full(2, 20), np.array([6, 4])

    model = onnx.load(models["recognise"])
    _check(model, Trainer(import_onnx(model).graph, loss=CTC(max_labels=6), threads=1), draw)


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
