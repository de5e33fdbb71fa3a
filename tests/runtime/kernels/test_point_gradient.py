"""The input's gradient of a pointwise convolution by the weights as they lie, beside the product with transposed ones."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.compiler.loader import library
from alula.runtime.kernels.tiles import for_cpu
from alula.runtime.ops.conv import lower_gradient as conv_gradient
from alula.runtime.ops.conv.lower_product import pack_panels
from alula.runtime.train import Trainer
from tests.runtime.train.digits import network


@pytest.mark.parametrize(
    ("pixels", "c_in", "c_out"),
    [(1, 4, 8), (4, 4, 64), (5, 12, 40), (16, 96, 24), (7, 20, 200), (3, 4, 32), (2, 8, 16)],
)
def test_dot_products_of_panels_equal_the_product(pixels: int, c_in: int, c_out: int) -> None:
    rng = np.random.default_rng(pixels)
    dy = rng.standard_normal((pixels, c_out)).astype(np.float32)
    weights = rng.standard_normal((c_in, c_out)).astype(np.float32)
    dx = np.full((pixels + 1, c_in), 7, np.float32)
    panels = pack_panels(weights, for_cpu(library().cpu))
    library().call("f32_point_input_grad", dy, panels, dx, pixels, c_in, c_out)
    np.testing.assert_allclose(dx[:-1], dy @ weights.T, rtol=1e-5, atol=1e-5 * c_out**0.5)
    assert (dx[-1] == 7).all()


def test_a_network_trains_alike_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, rng = network("mobilenetv2-cifar"), np.random.default_rng(0)
    batch = rng.standard_normal((2, 3, 32, 32)).astype(np.float32), np.array([3, 5])
    found = []
    for most in (0, conv_gradient.MAX_POINTS):
        monkeypatch.setattr(conv_gradient, "MAX_POINTS", most)
        trainer = Trainer(graph, batch_statistics=False, threads=2)
        kernels = {i.kernel.name for i in trainer.program(batch[0]).instructions if i.kernel}
        trainer.step(*batch)
        found.append((trainer.gradients(*batch), "f32_point_input_grad" in kernels))
    (transposed, without), (dots, with_kernel) = found
    assert with_kernel and not without
    for name, gradient in transposed.items():
        assert np.abs(gradient - dots[name]).max() <= 2e-2 * np.abs(gradient).max(), name


@pytest.mark.parametrize(("update", "batch_statistics"), [("norm", None), ("last:2", None), ("bias", True)])
def test_frozen_weights_lie_in_one_order(
    update: str, batch_statistics: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, rng = network("mobilenetv2-cifar"), np.random.default_rng(0)
    batch = rng.standard_normal((2, 3, 32, 32)).astype(np.float32), np.array([3, 5])
    found, weights = [], []
    for most in (0, conv_gradient.MAX_POINTS):
        monkeypatch.setattr(conv_gradient, "MAX_POINTS", most)
        trainer = Trainer(graph, update=update, batch_statistics=batch_statistics, threads=1)
        weights.append(trainer.program(batch[0]).memory.weights)
        found.append(trainer.gradients(*batch))
    assert weights[1] < 0.8 * weights[0] or update == "last:2"
    largest = max(np.abs(gradient).max() for gradient in found[0].values())  # some are zero, but for rounding
    for name, gradient in found[0].items():
        error = np.abs(gradient - found[1][name]).max()
        assert error <= 2e-2 * np.abs(gradient).max() + 1e-4 * largest, name
