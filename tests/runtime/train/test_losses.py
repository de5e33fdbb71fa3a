"""Losses and their gradients are torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime.errors import GraphError, ShapeError
from alula.runtime.graph import Array
from alula.runtime.train import BCE, L1, MSE, CrossEntropy, Distillation, Trainer, loss
from tests.runtime.train.digits import batches, network, trainer

WEIGHTS = (1.0, 0.5, 2.0, 1.0, 0.0, 3.0, 1.0, 1.0, 0.25, 1.0)


def _teacher(labels: Array) -> Array:
    return np.random.default_rng(5).standard_normal((len(labels), 10)).astype(np.float32) * 3


def _soft(labels: Array) -> Array:
    return np.random.default_rng(6).random((len(labels), 10)).astype(np.float32)


def _distilled(torch: Any, scores: Any, labels: Any, taught: Any) -> Any:
    t, f = 3.0, torch.nn.functional
    soft = f.kl_div(f.log_softmax(scores / t, -1), f.softmax(taught / t, -1), reduction="batchmean") * t * t
    return 0.7 * soft + 0.3 * f.cross_entropy(scores, labels)


CASES: dict[str, tuple[Any, Any, Any]] = {
    "weights": (
        CrossEntropy(0.1, WEIGHTS), lambda y: (y,),
        lambda t, s, y: t.nn.functional.cross_entropy(s, y, t.tensor(WEIGHTS), label_smoothing=0.1),
    ),
    "ignored": (
        CrossEntropy(ignore_index=3), lambda y: (np.where(np.arange(len(y)) % 3 == 0, 3, y),),
        lambda t, s, y: t.nn.functional.cross_entropy(s, y, ignore_index=3),
    ),
    "mse": (MSE(), lambda y: (_soft(y),), lambda t, s, y: t.nn.functional.mse_loss(s, y)),
    "l1": (L1(), lambda y: (_soft(y),), lambda t, s, y: t.nn.functional.l1_loss(s, y)),
    "bce": (BCE(), lambda y: (_soft(y),), lambda t, s, y: t.nn.functional.binary_cross_entropy_with_logits(s, y)),
    "distillation": (Distillation(temperature=3.0, alpha=0.7), lambda y: (y, _teacher(y)), _distilled),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_loss_and_its_gradients_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    from alula.host.zoo import build
    from tests.torch_network import TorchNetwork

    made, targets_of, theirs = CASES[name]
    (x, labels), other = batches(1)[0], TorchNetwork(build("lenet-5")).train()
    targets = targets_of(labels)
    expected = theirs(torch, other(torch.from_numpy(x)), *map(torch.from_numpy, targets))
    expected.backward()
    own = trainer(loss=made)
    for parameter, gradient in own.gradients(x, *targets).items():
        true = other.parameter(parameter).grad.numpy()
        got = np.moveaxis(gradient, -1, 1) if true.ndim > 2 else gradient.reshape(true.shape)
        assert np.abs(got - true).max() <= 1e-4 * np.abs(true).max(), parameter
    assert own.step(x, *targets).loss == pytest.approx(float(expected.detach()), rel=1e-5)


def test_a_teacher_is_asked_by_the_loss() -> None:
    teacher = trainer().model()
    (x, labels) = batches(1)[0]
    asked, told = trainer(loss=Distillation(teacher)), trainer(loss=Distillation())
    assert asked.step(x, labels).loss == told.step(x, labels, teacher(x)).loss


def test_losses_fall() -> None:
    x, labels = batches(1)[0]
    for made, target in ((MSE(), _soft(labels)), (L1(), _soft(labels)), (BCE(), np.eye(10, dtype=np.float32)[labels])):
        own = trainer(loss=made)
        own.lr = 0.002
        losses = [own.step(x, target).loss for _ in range(15)]
        assert losses[-1] < losses[0], made


def test_what_does_not_fit_is_one_line() -> None:
    x, labels = batches(1)[0]
    with pytest.raises(ShapeError, match="expected 10 class weights, got 2"):
        trainer(loss=CrossEntropy(class_weights=(1.0, 2.0))).step(x, labels)
    with pytest.raises(GraphError, match="1 inputs and 2 targets, got 2 arrays"):
        trainer(loss=Distillation()).step(x, labels)
    with pytest.raises(GraphError, match="temperature above 0"):
        Distillation(temperature=0.0)
    with pytest.raises(GraphError, match="expected one of cross_entropy, mse"):
        loss("hinge")
    with pytest.raises(ShapeError, match=r"ctc: expected scores \(N, T, C\)"):
        Trainer(network(), loss=loss("ctc"), threads=1).step(x, labels)
    for wrong in (1.5, -0.25, np.nan):
        with pytest.raises(GraphError, match=r"expected numbers from 0 to 1, got .* at 0, 3; scale them"):
            trainer(loss=BCE()).step(
                x, np.where(np.arange(10) == 3, np.float32(wrong), np.eye(10, dtype=np.float32)[labels])
            )
