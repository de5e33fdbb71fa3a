"""The best pairs of two sets: the linear assignment problem, exactly, in NumPy.

It stands here because SciPy is no dependency of a board. Shortest augmenting paths with dual prices, O(n^3) at worst: Kuhn,
"The Hungarian method for the assignment problem", 1955; Jonker and Volgenant, "A shortest augmenting path algorithm for dense
and sparse linear assignment problems", Computing 38, 1987; rectangular as in Crouse, "On implementing 2D rectangular
assignment algorithms", IEEE TAES 52(4), 2016. Pairs that compete with no other are taken at once, and the rest falls into groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alula.runtime.errors import DataError, ShapeError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def assign(cost: ArrayLike, limit: float) -> tuple[Indices, Indices]:
    """The pairs of rows and columns with the least sum of `cost - limit`; each row and each column in one pair at most.

    cost   : (R, C) floats; infinity forbids a pair
    limit  : finite; a pair that costs as much or more is never taken. With one far above all costs all of min(R, C) are paired
    return : rows and columns of the pairs, (K,) int64 both, rows rising
    raise  : ShapeError if `cost` is no matrix; DataError for NaN, minus infinity, or a limit that is not finite
    """
    cost = np.asarray(cost, np.float64)
    if cost.ndim != 2:
        raise ShapeError(
            f"assign: expected costs (R, C), got shape {cost.shape}; give a row for each member of one set"
        )
    if not np.isfinite(limit) or np.isnan(cost).any() or np.isneginf(cost).any():
        raise DataError(
            "assign: expected numbers and a finite limit, got NaN or infinity; only a forbidden pair is +infinity"
        )
    allowed = cost < limit
    rows, columns = np.nonzero(allowed)
    alone = (allowed.sum(1)[rows] == 1) & (allowed.sum(0)[columns] == 1)
    pairs = [(rows[alone], columns[alone])]
    rows, columns = rows[~alone], columns[~alone]
    for members in _groups(rows, columns, cost.shape):
        these, those = np.unique(rows[members]), np.unique(columns[members])
        block = np.minimum(cost[np.ix_(these, those)], limit)
        if len(these) <= len(those):
            left, right = np.arange(len(these)), _paths(block)
        else:
            left, right = _paths(block.T), np.arange(len(those))
        taken = block[left, right] < limit
        pairs.append((these[left[taken]], those[right[taken]]))
    left, right = (np.concatenate(side).astype(np.int64) for side in zip(*pairs, strict=True))
    order = np.argsort(left, kind="stable")
    return left[order], right[order]


def _groups(rows: Indices, columns: Indices, shape: tuple[int, ...]) -> list[Indices]:
    """Which pairs compete with each other, directly or through others: indices into the lists of allowed pairs."""
    if not rows.size:
        return []
    group = np.arange(shape[0])  # of each row: the lowest row that is known to compete with it
    while True:
        of_column = np.full(shape[1], shape[0])
        np.minimum.at(of_column, columns, group[rows])
        lower = group.copy()
        np.minimum.at(lower, rows, of_column[columns])
        lower = lower[lower]
        if (lower == group).all():
            break
        group = lower
    of_pair = group[rows]
    order = np.argsort(of_pair, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(of_pair[order])) + 1)


def _paths(cost: Floats) -> Indices:
    """The column of each row where all rows are paired at the least sum; (R, C) finite, R <= C.

    `row_price + column_price <= cost` always, equal on pairs; a column without a row costs nothing. So the pairs are best.
    """
    n_rows, n_columns = cost.shape
    row_price, column_price = cost.min(axis=1), np.zeros(n_columns)
    row_of, column_of = np.full(n_columns, -1), np.full(n_rows, -1)
    for row, column in enumerate(cost.argmin(axis=1)):
        if row_of[column] < 0:
            row_of[column], column_of[row] = row, column
    for first in np.flatnonzero(column_of < 0).tolist():
        row, length = first, 0.0
        distance = np.full(n_columns, np.inf)  # of each column from `first`, along pairs and reduced costs
        open_distance = distance.copy()  # infinite for columns that have been reached
        came_from = np.full(n_columns, -1)
        reached: list[int] = []
        while True:
            through = (length - row_price[row]) + cost[row] - column_price
            nearer = through < distance
            nearer[reached] = False  # rounding must not open them again
            distance[nearer] = open_distance[nearer] = through[nearer]
            came_from[nearer] = row
            column = int(open_distance.argmin())
            length = float(distance[column])
            if row_of[column] < 0:
                break
            reached.append(column)
            open_distance[column] = np.inf
            row = int(row_of[column])
        row_price[first] += length
        row_price[row_of[reached]] += length - distance[reached]
        column_price[reached] -= length - distance[reached]
        while column >= 0:
            row = int(came_from[column])
            row_of[column] = row
            column_of[row], column = column, int(column_of[row])
            if row == first:
                break
    return column_of
