"""Weights to codes: k-means codebooks and affine int8. The folded weights are quantised, as the file stores them.

Folding a batch normalisation multiplies each filter by its own factor, so the ranges of channels differ much. Affine int8
has a scale per channel for that; a codebook serves the whole layer (Deep Compression, Han et al. 2016), unless `by_channel`
divides each channel by its own root mean square first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alula.runtime.artifact.encodings import Encoded, encode_affine, encode_codebook
from alula.runtime.graph import Array, TensorSpec

BINS = 1 << 14  # of the histogram on which k-means runs
ROUNDS = 100
MIN_ZERO_RATIO = 0.05  # from this share of exact zeros on, zero keeps a code of its own: the layer was pruned


@dataclass(frozen=True)
class Codes:
    """Codes, and the tables that convert them back into weights.

    codes  : uint8, the tensor's shape
    values : the codebook (codebook only)
    scales : float32 per channel, or None
    zeros  : uint8 per channel (affine only)
    axis   : of the channels, -1 for the whole tensor
    """

    codes: Array
    values: Array | None = None
    scales: Array | None = None
    zeros: Array | None = None
    axis: int = -1

    def weights(self) -> Array:
        """The weights that a reader will get, bit for bit."""
        shape = [1] * self.codes.ndim
        if self.axis >= 0:
            shape[self.axis] = -1
        scales = np.float32(1) if self.scales is None else self.scales.reshape(shape)
        if self.values is not None:
            return self.values[self.codes] * scales
        assert self.zeros is not None
        return (self.codes.astype(np.float32) - self.zeros.reshape(shape).astype(np.float32)) * scales

    def encoded(self, entropy: bool = True) -> Encoded:
        """As the file stores them."""
        spec = TensorSpec(self.codes.shape, "float32")
        if self.values is not None:
            return encode_codebook(spec, self.codes, self.values, self.scales, self.axis, entropy)
        assert self.scales is not None and self.zeros is not None
        return encode_affine(spec, self.codes, self.scales, self.zeros, self.axis, entropy)


def affine_int8(weights: Array, axis: int = -1) -> Codes:
    """8-bit codes with a scale and a zero per channel of `axis`. Weight 0 is exact.

    source : the affine scheme of Jacob et al. 2018, eq. 1
    """
    rest = tuple(i for i in range(weights.ndim) if i != axis) if axis >= 0 else None
    low = np.minimum(weights.min(axis=rest), 0).astype(np.float64).reshape(-1)
    high = np.maximum(weights.max(axis=rest), 0).astype(np.float64).reshape(-1)
    scales = ((high - low) / 255).astype(np.float32)
    scales[scales == 0] = 1  # a channel of zeros
    zeros = np.clip(np.rint(-low / scales), 0, 255).astype(np.uint8)
    shape = [1] * weights.ndim
    if axis >= 0:
        shape[axis] = -1
    codes = np.rint(weights / scales.reshape(shape)) + zeros.reshape(shape)
    return Codes(np.clip(codes, 0, 255).astype(np.uint8), scales=scales, zeros=zeros, axis=axis)


def codebook(weights: Array, bits: int, axis: int = -1) -> Codes:
    """Codes of a k-means codebook of 2**bits values for the whole layer.

    axis : if not -1, each channel is divided by its root mean square before, and multiplied by it after
    """
    scales = None
    scaled = weights
    if axis >= 0:
        rest = tuple(i for i in range(weights.ndim) if i != axis)
        scales = np.sqrt(np.mean(np.square(weights, dtype=np.float64), axis=rest)).astype(np.float32)
        scales[scales == 0] = 1
        shape = [1] * weights.ndim
        shape[axis] = -1
        scaled = weights / scales.reshape(shape)
    values = kmeans(scaled, 1 << bits)
    return Codes(nearest(scaled, values), values=values, scales=scales, axis=axis)


def kmeans(weights: Array, k: int) -> Array:
    """At most k centroids of the weights, rising, float32. The same weights always give the same centroids.

    Lloyd's rounds run on a fine histogram (each bin with its mean), as nearest centroids in one dimension are intervals:
    a round is a binary search and differences of running sums. Starts from equal steps of density**(1/3), the best
    density of many centroids (Panter and Dite 1951); then one centroid at a time moves to where it is missed more.
    """
    flat = weights.reshape(-1).astype(np.float64)
    others = flat[flat != 0]
    if flat.size - others.size < MIN_ZERO_RATIO * flat.size:
        return np.unique(_centroids(flat, k).astype(np.float32))
    kept = np.append(_centroids(others, k - 1), 0.0)
    if k == 2 and others.size:  # one value beside zero is worth little where weights have both signs
        kept = min(np.sort(kept), _centroids(flat, k), key=lambda values: _error(flat, values))
    return np.unique(kept.astype(np.float32))


def _error(flat: Array, values: Array) -> float:
    """The sum of the squared differences from the nearest of values that rise."""
    return float(np.square(flat - values[nearest(flat, values)]).sum())


def _centroids(flat: Array, k: int) -> Array:
    """At most k centroids of all these weights."""
    distinct = np.unique(flat[:: max(1, flat.size // BINS)])
    if len(distinct) <= k:
        distinct = np.unique(flat)
    return distinct if len(distinct) <= k else _lloyd(*_histogram(flat), k)


def nearest(weights: Array, values: Array) -> Array:
    """Index of the nearest value (values rise), uint8."""
    middles = values[1:] / 2 + values[:-1] / 2  # a sum of two could overflow
    return np.searchsorted(middles, weights).astype(np.uint8)


def _histogram(flat: Array) -> tuple[Array, Array]:
    """(means, counts) of the bins that hold something."""
    low, high = flat.min(), flat.max()
    bins = np.minimum(((flat - low) * (BINS / (high - low))).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS).astype(np.float64)
    sums = np.bincount(bins, weights=flat, minlength=BINS)
    held = counts > 0
    return sums[held] / counts[held], counts[held]


def _lloyd(points: Array, counts: Array, k: int) -> Array:
    """Centroids of weighted points that rise."""
    running = np.stack([np.cumsum(counts), np.cumsum(points * counts), np.cumsum(points**2 * counts)])
    running = np.pad(running, ((0, 0), (1, 0)))
    widths = np.gradient(points)
    mass = np.cumsum(np.cbrt(counts / widths) * widths)
    error, centroids = _settle(np.interp((np.arange(k) + 0.5) / k * mass[-1], mass, points), points, running)
    for _ in range(4 * k if k > 1 else 0):  # two intervals are needed to join them
        lower, moved = _settle(_swap(centroids, points, running), points, running)
        if not lower < error * (1 - 1e-4):
            break
        error, centroids = lower, moved
    return centroids


def _bounds(centroids: Array, points: Array) -> Array:
    """Where the interval of each centroid begins, and where the last one ends."""
    edges = np.searchsorted(points, (centroids[1:] + centroids[:-1]) / 2)
    return np.concatenate([[0], edges, [len(points)]])


def _settle(centroids: Array, points: Array, running: Array) -> tuple[float, Array]:
    """(error, centroids) when they stay where they are. `running`: sums of counts, points and squares before each point."""
    tolerance = 1e-6 * (points[-1] - points[0])
    error = np.inf
    for _ in range(ROUNDS):
        total, sums, squares = np.diff(running[:, _bounds(centroids, points)])
        moved = np.where(total > 0, sums / np.maximum(total, 1), centroids)
        error = float((squares - moved**2 * total).sum())
        stays = np.abs(moved - centroids).max() <= tolerance
        centroids = np.sort(moved)
        if stays:
            break
    return error, centroids


def _swap(centroids: Array, points: Array, running: Array) -> Array:
    """Join the two neighbours with the cheapest join, and split the interval whose split at its mean gains most."""
    bounds = _bounds(centroids, points)
    total = np.maximum(np.diff(running[0, bounds]), 1e-9)
    middles = np.clip(np.searchsorted(points, centroids), bounds[:-1], bounds[1:])
    low, low_sum = running[:2, middles] - running[:2, bounds[:-1]]
    high, high_sum = running[:2, bounds[1:]] - running[:2, middles]
    means = low_sum / np.maximum(low, 1), high_sum / np.maximum(high, 1)
    split = int(np.argmax(low * high / total * (means[0] - means[1]) ** 2))
    cost = total[1:] * total[:-1] / (total[1:] + total[:-1]) * np.diff(centroids) ** 2
    cost[max(split - 1, 0) : split + 1] = np.inf  # not the interval that is split
    join = int(np.argmin(cost))
    changed = centroids.copy()
    changed[join : join + 2] = (total[join : join + 2] * centroids[join : join + 2]).sum() / total[
        join : join + 2
    ].sum()
    changed[split] = means[0][split]
    if np.isfinite(cost[join]):
        changed[join + 1] = means[1][split]
    return np.sort(changed)
