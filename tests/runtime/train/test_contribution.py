"""The automatic choice of what is trained."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import GraphError, MemoryBudgetError
from alula.runtime.graph import Array
from alula.runtime.train import SGD, Trainer, choose_update
from tests.runtime.train.digits import network

Batch = tuple[Array, Array]


def _stripes(count: int, seed: int) -> list[Batch]:
    """Images whose label is where a bright column stands."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        labels = rng.integers(0, 10, 16)
        x = 0.3 * rng.standard_normal((16, 1, 28, 28)).astype(np.float32)
        x[np.arange(16), 0, :, 2 + 2 * labels] += 2
        made.append((x, labels))
    return made


def test_the_choice_fits_and_learns_more_than_the_least_layer() -> None:
    net, train, test = network(), _stripes(10, 0), _stripes(4, 1)
    unlimited = choose_update(net, train, test, 1 << 40, SGD(0.05), threads=1)
    assert set(unlimited.chosen) == {name for name, gain in unlimited.gains.items() if gain > 0}
    budget = int(0.75 * unlimited.memory)
    choice = choose_update(net, train, test, budget, SGD(0.05), threads=1)
    trainer = Trainer(net, SGD(0.05), update=choice.update, threads=1)
    assert choice.chosen and trainer.program(train[0][0]).memory.total == choice.memory <= budget
    first = trainer.step(*train[0]).loss
    for batch in train * 4:
        last = trainer.step(*batch).loss
    assert last < first
    again = choose_update(net, train, test, budget, SGD(0.05), threads=1)
    assert again == choice


def test_what_cannot_be_chosen_is_said_in_one_line() -> None:
    net, train, test = network(), _stripes(3, 0), _stripes(1, 1)
    with pytest.raises(MemoryBudgetError, match=r"expected a step within 1,000 bytes, got .* at the least"):
        choose_update(net, train, test, 1000, SGD(0.05), threads=1)
    with pytest.raises(GraphError, match="expected a layer that lowers the loss"):
        choose_update(net, train, test, 1 << 40, SGD(0.0), threads=1)
    with pytest.raises(GraphError, match="expected batches"):
        choose_update(net, [], test, 1 << 40, threads=1)
    with pytest.raises(GraphError, match="needs data; call choose_update"):
        Trainer(net, update="auto:64MB", threads=1)
