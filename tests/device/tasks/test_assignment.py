"""Pairs at the least cost, against every other way to pair, and against SciPy where it is installed."""

from __future__ import annotations

import itertools
from importlib.util import find_spec

import numpy as np
import pytest

from alula.device.tasks.assignment import assign
from alula.runtime.errors import DataError, ShapeError


def least(cost: np.ndarray, limit: float) -> float:
    """The least sum of cost - limit over all ways to pair rows with columns, or with none (-1)."""
    best = 0.0
    for columns in itertools.product(range(-1, cost.shape[1]), repeat=cost.shape[0]):
        used = [column for column in columns if column >= 0]
        if len(set(used)) == len(used):
            best = min(best, sum(cost[row, column] - limit for row, column in enumerate(columns) if column >= 0))
    return best


@pytest.mark.parametrize("seed", range(60))
def test_no_other_way_to_pair_costs_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(0, 5, 2)
    cost = np.round(rng.normal(0, 3, shape), seed % 3)  # whole numbers have ties
    cost[rng.random(shape) < 0.3] = np.inf
    limit = float(rng.normal(1, 2))
    rows, columns = assign(cost, limit)
    assert len(set(rows)) == len(set(columns)) == len(rows) and (np.diff(rows) > 0).all()
    assert rows.dtype == columns.dtype == np.int64
    assert (cost[rows, columns] < limit).all()
    assert (cost[rows, columns] - limit).sum() == pytest.approx(least(cost, limit))


def test_a_cheap_pair_gives_way_where_all_together_cost_less() -> None:
    rows, columns = assign([[0.0, 1.0], [1.0, 100.0]], 1000.0)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
    assert assign([[0.0, 1.0], [1.0, 100.0]], 0.5)[1].tolist() == [0]


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50)])
def test_large_ones_are_as_good_as_any_exchange(shape: tuple[int, int]) -> None:
    """No two pairs gain by exchanging columns, no pair by a free row or column; where SciPy is installed, its sum is the same."""
    rng = np.random.default_rng(0)
    for cost in (rng.random(shape), rng.integers(0, 5, shape).astype(float), np.outer(*map(rng.random, shape))):
        rows, columns = assign(cost, 1e3)
        assert len(rows) == min(shape)
        chosen = cost[rows, columns]
        crossed = cost[np.ix_(rows, columns)]
        assert (chosen[:, None] + chosen <= crossed + crossed.T + 1e-9).all()
        for free, pairs in (
            (set(range(shape[1])) - set(columns), cost[rows]),
            (set(range(shape[0])) - set(rows), cost.T[columns]),
        ):
            assert (pairs[:, sorted(free)] >= chosen[:, None] - 1e-9).all()
        if find_spec("scipy"):
            from scipy.optimize import linear_sum_assignment

            assert chosen.sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum())


def test_a_thousand_that_hardly_compete_are_paired_group_by_group() -> None:
    """Points on a line with noise: the order is kept."""
    rng = np.random.default_rng(0)
    places = np.arange(1000.0)
    order = rng.permutation(1000)
    rows, columns = assign(np.abs(places[:, None] - (places + rng.normal(0, 0.3, 1000))[order]), 1.5)
    assert len(rows) > 990 and np.abs(order[columns] - rows).max() <= 1


def test_what_is_no_cost_is_refused() -> None:
    with pytest.raises(ShapeError, match="got shape"):
        assign([1.0, 2.0], 1.0)
    for cost, limit in (([[np.nan]], 1.0), ([[-np.inf]], 1.0), ([[1.0]], np.inf), ([[1.0]], np.nan)):
        with pytest.raises(DataError, match="finite limit"):
            assign(cost, limit)
    assert [side.tolist() for side in assign(np.zeros((0, 3)), 1.0)] == [[], []]
