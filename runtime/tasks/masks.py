"""Masks of things: from prototypes and factors to pixels of the image, and to run lengths.

A mask is the sum of prototypes (M, h, w) with a box's factors, above 0 (where its sigmoid is above 0.5). It is interpolated at the
centres of the image's pixels, so no scaled copy of it is made, and cut off at the box.
Source: Bolya et al., "YOLACT: real-time instance segmentation", ICCV 2019, section 3.
"""

from __future__ import annotations

import numpy as np

from alula.runtime.data.placement import Placement
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array


@frozen
class Mask:
    """The pixels of a thing.

    left, top : of `pixels` in the image
    pixels    : (h, w) bool; what lies outside is no part of the thing
    """

    left: int
    top: int
    pixels: Array

    @property
    def area(self) -> int:
        """In pixels."""
        return int(np.count_nonzero(self.pixels))

    def whole(self, height: int, width: int) -> Array:
        """(height, width) bool, of the whole image."""
        out = np.zeros((height, width), bool)
        h, w = self.pixels.shape
        out[self.top : self.top + h, self.left : self.left + w] = self.pixels
        return out

    def run_lengths(self, height: int, width: int) -> list[int]:
        """How many pixels of the whole image are outside, inside, outside, ... down the columns, the left one first.

        COCO's uncompressed run lengths: the first may be 0, and all add up to height * width.
        """
        h, w = self.pixels.shape
        columns = np.zeros((w, height), bool)
        columns[:, self.top : self.top + h] = self.pixels.T
        inside = np.concatenate([[False], columns.ravel(), [False]])
        changes = np.flatnonzero(inside[1:] != inside[:-1]) + self.left * height
        ends = np.concatenate([[0], changes, [height * width]])
        lengths = np.diff(ends)
        counts: list[int] = (lengths if lengths[-1] else lengths[:-1]).tolist()
        return counts


def mask_of(factors: Array, prototypes: Array, box: Array, where: Placement, size: tuple[int, ...]) -> Mask:
    """The mask of one box.

    factors    : (M,) float32
    prototypes : (M, h, w) float32, over the whole input of the network
    box        : (4,) left, top, right, bottom, in pixels of the image; a pixel belongs to it if its centre does
    where      : the image lies in the input, whose size is (H, W)
    """
    left, top, right, bottom = (int(edge) for edge in np.ceil(np.asarray(box, np.float64) - 0.5))
    if left >= right or top >= bottom:
        return Mask(left, top, np.zeros((0, 0), bool))
    x, y = where.to_input(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    h, w = prototypes.shape[1:]
    (x0, x1, x_share), (y0, y1, y_share) = _between(x * (w / size[1]) - 0.5, w), _between(y * (h / size[0]) - 0.5, h)
    part = prototypes[:, y0[0] : y1[-1] + 1, x0[0] : x1[-1] + 1]  # only what the box covers
    sums = (factors @ part.reshape(len(part), -1)).reshape(part.shape[1:])
    rows = sums[:, x0 - x0[0]] * (1 - x_share) + sums[:, x1 - x0[0]] * x_share  # (rows of the part, w of the box)
    rows_share = y_share[:, None]
    return Mask(left, top, rows[y0 - y0[0]] * (1 - rows_share) + rows[y1 - y0[0]] * rows_share > 0)


def _between(places: Array, count: int) -> tuple[Array, Array, Array]:
    """Places (N,) ascending among `count` cells: the cells before and after, and the share of the one after, float32."""
    places = np.clip(places, 0, count - 1)
    before = np.floor(places).astype(np.int64)
    return before, np.minimum(before + 1, count - 1), (places - before).astype(np.float32)
