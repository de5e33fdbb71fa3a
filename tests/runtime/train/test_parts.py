"""Transformed filters that go in two parts give the bits of whole ones."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.graph import Graph
from alula.runtime.ops.conv import lower_winograd as winograd
from alula.runtime.train import MSE, SGD, Trainer
from tests.runtime.passes.networks import Builder, image


def _residual(c_in: int, c: int) -> Graph:
    """Convolutions with bias, whose gradients meet in a sum behind a Relu."""
    b = Builder(0, x=image(c_in))
    pads = {"pads": (1, 1, 1, 1)}
    first = b.node("Relu", b.conv("x", c_in, c, 3, **pads))
    second = b.node("Relu", b.conv(first, c, c, 3, **pads))
    return b.graph(b.node("Add", first, b.conv(second, c, c, 3, **pads)))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("c", "size"), [(64, (7, 9)), (88, (8, 8)), (96, (5, 4))])
def test_filters_in_two_parts_give_the_same_bits(
    c: int, size: tuple[int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, graph = np.random.default_rng(1), _residual(40, c)
    x, y = (rng.standard_normal((3, channels, *size)).astype(np.float32) for channels in (40, c))
    found = []
    for most in (1 << 40, 1):
        monkeypatch.setattr(winograd, "MAX_FILTER_BYTES", most)
        trainer = Trainer(graph, SGD(lr=1e-4, momentum=0.9), MSE(), threads=threads)
        for _ in range(2):
            loss = trainer.step(x, y).loss
        products = [i for i in trainer.program(x).instructions if i.kernel and i.kernel.name == "f32_winograd"]
        found.append((loss, trainer.values(), len(products)))
    (whole, values, count), (split, others, more) = found
    assert more == 2 * count
    assert whole == split
    for name, value in values.items():
        assert np.array_equal(value, others[name]), name
