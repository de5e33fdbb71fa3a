"""Optimisers, clipping and accumulation: the weights after some steps are torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.host.zoo import build
from alula.runtime.errors import GraphError
from alula.runtime.train import SGD, Adam, AdamW, Lion, SignSGD, optimizer
from tests.runtime.train.digits import batches, trainer

TOLERANCE = 5e-5  # of the largest weight of a tensor
STEPS = 6


def _torch() -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    from tests.torch_network import TorchNetwork

    return torch, TorchNetwork(build("lenet-5")).train()


def _compare(values: dict[str, np.ndarray[Any, Any]], network: Any, lr: float) -> None:
    for name, place in network.places.items():
        true = getattr(network, place).detach().numpy()
        own = np.moveaxis(values[name], -1, 1) if true.ndim > 2 else values[name].reshape(true.shape)
        # Where a gradient is all but zero, Adam's step is the sign of a rounding error
        assert np.abs(own - true).max() <= max(TOLERANCE * np.abs(true).max(), 0.05 * lr), name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGD(lr=0.002), ("SGD", {"lr": 0.002})),
        (SGD(0.001, 0.9, 1e-2, nesterov=True), ("SGD", {"lr": 0.001, "momentum": 0.9, "weight_decay": 1e-2, "nesterov": True})),
        (Adam(lr=1e-3, weight_decay=1e-2), ("Adam", {"lr": 1e-3, "weight_decay": 1e-2})),
        (AdamW(lr=1e-3, weight_decay=0.1), ("AdamW", {"lr": 1e-3, "weight_decay": 0.1})),
    ],
    ids=["sgd", "nesterov", "adam", "adamw"],
)  # fmt: skip
@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_steps_are_torchs(ours: Any, theirs: tuple[str, dict[str, Any]], clip_norm: float) -> None:
    torch, network = _torch()
    own, other = trainer(ours, clip_norm=clip_norm), getattr(torch.optim, theirs[0])(network.parameters(), **theirs[1])
    for x, labels in batches(STEPS):
        step = own.step(x, labels)
        other.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(labels))
        loss.backward()
        if clip_norm:
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
            assert step.gradient_norm == pytest.approx(float(norm), rel=1e-4)
        other.step()
        assert step.updated and step.loss == pytest.approx(float(loss.detach()), rel=1e-4)
    _compare(own.values(), network, own.lr)


@pytest.mark.parametrize("clip_norm", [0.0, 0.3])
def test_batches_that_are_accumulated_are_one_batch(clip_norm: float) -> None:
    small, large = (
        trainer(SGD(0.002, 0.9), accumulate=3, clip_norm=clip_norm),
        trainer(SGD(0.002, 0.9), clip_norm=clip_norm),
    )
    parts = batches(6, 2)
    updated = [small.step(*part).updated for part in parts]
    assert updated == [False, False, True] * 2 and small.steps == 2
    for i in (0, 3):
        x, labels = (np.concatenate(arrays) for arrays in zip(*parts[i : i + 3], strict=True))
        large.step(x, labels)
    learned = small.values()
    for name, value in large.values().items():
        assert np.abs(learned[name] - value).max() <= TOLERANCE * max(np.abs(value).max(), 1e-3), name


@pytest.mark.parametrize("made", [SignSGD(lr=1e-3), SignSGD(lr=1e-3, momentum=0.9, weight_decay=0.1), Lion(lr=1e-3)])
def test_steps_by_sign_have_one_length(made: Any) -> None:
    own = trainer(made)
    before = own.values()
    own.step(*batches(1)[0])
    for name, value in own.values().items():
        if name in own.trained:
            kept = before[name] * (1 - made.lr * made.weight_decay)
            length = np.abs(value - kept)
            moved = np.isclose(length, made.lr, rtol=1e-3)
            assert moved.mean() > 0.5 and (moved | (length < 1e-7)).all(), name  # units that are off have no gradient


def test_decay_can_spare_biases() -> None:
    both = [trainer(SGD(1e-3, weight_decay=0.5, decay=decay)) for decay in ("all", "weights")]
    for own in both:
        own.step(*batches(1)[0])
    everything, spared = (own.values() for own in both)
    for name in both[0].trained:
        assert np.array_equal(everything[name], spared[name]) == (spared[name].ndim > 1), name


def test_optimizers_by_name() -> None:
    assert optimizer("sgd", lr=0.1, momentum=0.9, beta1=None) == SGD(lr=0.1, momentum=0.9)
    assert optimizer("adamw") == AdamW()
    for wrong, text in (
        (lambda: optimizer("adm"), "expected one of sgd, adam"),
        (lambda: optimizer("sgd", beta1=0.5), "got beta1"),
        (lambda: Adam(beta1=1.0), "0 <= beta1 < 1"),
        (lambda: Lion(lr=float("nan")), "finite lr"),
        (lambda: SGD(decay="none"), "decay all or weights"),
    ):
        with pytest.raises(GraphError, match=text):
            wrong()
    with pytest.raises(GraphError, match="accumulate >= 1"):
        trainer(accumulate=0)
