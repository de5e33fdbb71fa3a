"""How operands broadcast over a (rows, channels) matrix, and which must be written out first.

A shape is cut in two, rows = prod(shape[:k]) and channels = prod(shape[k:]). An operand fits as it is if it has one
value per element, per channel, per row, or per image (a run of rows) and channel. The cheapest cut is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from alula.runtime.frozen import frozen
from alula.runtime.ops.elementwise.kernel import CHANNEL, FULL, IMAGE, ROW, SCALAR

ROW_COST = 32  # of one more row of the matrix, in elements: what it takes to choose the loop and start it
KNOWN_COST = 1 / 16  # of an element that is written out when the program is planned: memory alone


@frozen
class Broadcast:
    """How one operand meets the matrix.

    dims       : the shape it is read in; another one than its own means that it is written out first
    image_rows : rows that share a line of it, for mode IMAGE
    """

    mode: int
    dims: tuple[int, ...]
    image_rows: int


@frozen
class Matrix:
    """A tensor as a matrix, and its operands."""

    rows: int
    channels: int
    image_rows: int
    operands: tuple[Broadcast, ...]


def choose_broadcast(shape: tuple[int, ...], operands: Sequence[tuple[tuple[int, ...], bool]]) -> Matrix:
    """The cheapest matrix for operands given as (shape, whether its value is known)."""
    if not operands:
        return Matrix(1, math.prod(shape), 1, ())
    padded = [((1,) * (len(shape) - len(dims)) + dims, known) for dims, known in operands]
    found: list[tuple[float, Matrix]] = []
    for cut in range(len(shape)):
        rows = math.prod(shape[:cut])
        image_rows, cost, spreads = 1, 0.0, []
        for dims, known in padded:
            broadcast = _fit(shape, dims, cut)
            if broadcast.mode == IMAGE:
                if image_rows not in (1, broadcast.image_rows):
                    broadcast = Broadcast(FULL, shape, 1)  # one kernel call has images of one size
                else:
                    image_rows = broadcast.image_rows
            if broadcast.dims != dims:
                cost += math.prod(broadcast.dims) * (KNOWN_COST if known else 1)
            if broadcast.mode in (CHANNEL, ROW, IMAGE):
                cost += rows * ROW_COST
            spreads.append(broadcast)
        found.append((cost, Matrix(rows, math.prod(shape[cut:]), image_rows, tuple(spreads))))
    return min(found, key=lambda pair: pair[0])[1]


def _fit(shape: tuple[int, ...], dims: tuple[int, ...], cut: int) -> Broadcast:
    head, tail, above = dims[:cut], dims[cut:], shape[:cut]
    if math.prod(dims) == 1:
        return Broadcast(SCALAR, dims, 1)
    if dims == shape:
        return Broadcast(FULL, shape, 1)
    if head == above and math.prod(tail) == 1:
        return Broadcast(ROW, dims, 1)
    whole = (*head, *shape[cut:])
    if math.prod(head) == 1:
        return Broadcast(FULL if whole == shape else CHANNEL, whole, 1)
    if head == above:
        return Broadcast(FULL, whole, 1)
    same = next(i for i, (n, m) in enumerate(zip(head, above, strict=True)) if n != m)
    if math.prod(head[same:]) == 1:
        return Broadcast(IMAGE, whole, math.prod(above[same:]))
    return Broadcast(FULL, shape, 1)
