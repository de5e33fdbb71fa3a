"""k-means codebooks and affine int8: deterministic, near the best possible, exact about zero."""

from __future__ import annotations

import numpy as np
import pytest

from alula.host.quantize import affine_int8, codebook, kmeans, nearest
from alula.runtime.artifact.encodings import decode


def weights(seed: int, shape: tuple[int, ...] = (64, 3, 3, 32)) -> np.ndarray:
    """Laplacian weights, their range different in each channel, as batch normalisation leaves them when it is folded."""
    generator = np.random.default_rng(seed)
    ranges = generator.uniform(0.05, 1, (shape[0],) + (1,) * (len(shape) - 1))
    return (generator.laplace(size=shape) * ranges).astype(np.float32)


def error_power(array: np.ndarray, changed: np.ndarray) -> float:
    return float(np.square(array - changed, dtype=np.float64).mean())


def best_error(array: np.ndarray, k: int) -> float:
    """Mean squared error of the best k centroids, by dynamic programming over the sorted values."""
    points = np.sort(array.reshape(-1).astype(np.float64))
    sums = np.concatenate([[0], np.cumsum(points)])
    squares = np.concatenate([[0], np.cumsum(points**2)])
    best = np.full(len(points) + 1, np.inf)
    best[0] = 0
    for _ in range(k):
        following = best.copy()
        for end in range(1, len(points) + 1):
            start = np.arange(end)
            spread = squares[end] - squares[start] - (sums[end] - sums[start]) ** 2 / (end - start)
            following[end] = min(best[end], (best[start] + spread).min())
        best = following
    return float(best[-1]) / len(points)


@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_kmeans_is_near_the_best_centroids(k: int) -> None:
    array = weights(k, (300,))
    values = kmeans(array, k)
    assert len(values) == k
    assert error_power(array, values[nearest(array, values)]) <= 1.1 * best_error(array, k)


@pytest.mark.parametrize("bits", range(1, 9))
def test_each_bit_more_lowers_the_error(bits: int) -> None:
    array = weights(1)
    codes = codebook(array, bits)
    assert codes.codes.max() < 1 << bits
    if bits > 1:
        assert error_power(array, codes.weights()) < 0.5 * error_power(array, codebook(array, bits - 1).weights())


def pruned(array: np.ndarray, kept: float) -> np.ndarray:
    array[np.random.default_rng(8).random(array.shape) >= kept] = 0
    return array


@pytest.mark.parametrize("bits", range(2, 5))
@pytest.mark.parametrize("kept", [0.5, 0.02])
def test_pruned_weights_keep_their_zeros(bits: int, kept: float) -> None:
    array = pruned(weights(8), kept)
    codes = codebook(array, bits)
    assert codes.codes.max() < 1 << bits
    assert (codes.weights()[array == 0] == 0).all()
    others = array[array != 0]
    values = kmeans(others, (1 << bits) - 1)  # one of the codes is zero's
    assert error_power(others, codes.weights()[array != 0]) <= 1.1 * error_power(
        others, values[nearest(others, values)]
    )


@pytest.mark.parametrize("kept", [0.5, 0.02])
def test_of_two_values_one_is_zero_only_where_that_is_best(kept: float) -> None:
    both, positive = pruned(weights(8), kept), np.abs(pruned(weights(9), kept))
    assert 0 in codebook(positive + 3 * (positive > 0), 1).weights()
    assert error_power(both, codebook(both, 1).weights()) < 0.9 * error_power(both, np.zeros_like(both))


def test_centroids_are_the_means_of_their_weights() -> None:
    array = weights(2)
    values = kmeans(array, 16)
    codes = nearest(array, values)
    means = np.array([array[codes == code].mean(dtype=np.float64) for code in range(16)])
    assert np.abs(means - values).max() < 2e-3 * np.ptp(array)


def test_each_weight_gets_its_nearest_value() -> None:
    array, values = weights(3, (500,)), np.array([-1, -0.2, 0.0, 0.3, 2], np.float32)
    assert (nearest(array, values) == np.abs(array[:, None] - values).argmin(axis=1)).all()


def test_quantising_twice_gives_the_same_codes() -> None:
    array = weights(4)
    first, second = codebook(array, 5, axis=0), codebook(array.copy(), 5, axis=0)
    assert (first.codes == second.codes).all()
    assert first.values is not None and second.values is not None
    assert first.values.tobytes() == second.values.tobytes()


def test_few_distinct_weights_are_kept_exactly() -> None:
    array = np.random.default_rng(5).choice(np.array([-0.5, 0, 0.25, 3], np.float32), (64, 64))
    assert (codebook(array, 2).weights() == array).all()
    assert (codebook(np.full((20, 20), 0.1, np.float32), 3).weights() == np.float32(0.1)).all()
    assert (codebook(np.zeros((20, 20), np.float32), 3, axis=0).weights() == 0).all()


def test_pruned_weights_stay_zero() -> None:
    array = weights(6)
    array[np.abs(array) < 0.1] = 0
    for codes in (codebook(array, 3), codebook(array, 3, axis=0), affine_int8(array), affine_int8(array, 0)):
        assert (codes.weights()[array == 0] == 0).all()


@pytest.mark.parametrize("axis", [-1, 0, 3])
def test_affine_error_is_at_most_half_a_step(axis: int) -> None:
    array = weights(7)
    codes = affine_int8(array, axis)
    assert codes.scales is not None
    shape = [1] * 4
    if axis >= 0:
        shape[axis] = -1
    step = codes.scales.reshape(shape)
    assert (
        np.abs(array - codes.weights()) <= step * 1.01
    ).all()  # at an end of the range, rounding the zero adds half a step
    assert (np.abs(array - codes.weights()) <= step * 0.5001).mean() > 0.99


def test_a_scale_per_channel_lowers_the_error_of_weak_channels() -> None:
    array = weights(8)
    weak = np.abs(array).mean(axis=(1, 2, 3)).argmin()
    assert error_power(array[weak], affine_int8(array, 0).weights()[weak]) < error_power(
        array[weak], affine_int8(array).weights()[weak]
    )
    by_layer, by_channel = codebook(array, 4).weights(), codebook(array, 4, axis=0).weights()
    assert error_power(array[weak], by_channel[weak]) < error_power(array[weak], by_layer[weak])


@pytest.mark.parametrize("shape", [(300, 7), (16, 5, 5, 1), (2, 40, 33)], ids=str)
def test_a_reader_gets_the_weights_that_were_promised(shape: tuple[int, ...]) -> None:
    array = weights(9, shape)
    for axis in range(-1, len(shape)):
        for codes in (affine_int8(array, axis), *(codebook(array, bits, axis) for bits in (2, 5, 8))):
            assert decode(codes.encoded(), "here").tobytes() == codes.weights().tobytes()


def test_constant_channels_and_huge_ranges_are_survived() -> None:
    array = np.zeros((4, 100), np.float32)
    array[1], array[2], array[3] = 5, -3, np.linspace(-3e38, 3e38, 100)
    with np.errstate(all="raise"):
        for axis in (-1, 0):
            assert np.isfinite(affine_int8(array, axis).weights()).all()
            assert np.isfinite(codebook(array, 4, axis).weights()).all()
    assert np.allclose(affine_int8(array, 0).weights()[:3], array[:3])
