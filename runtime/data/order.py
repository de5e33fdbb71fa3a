"""Random draws that depend only on (seed, epoch, sample): a hash instead of a generator with a state.

So any batch can be recomputed from its place, on any machine and with any version of NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

# Purposes of a draw: two with the same number would be the same draw
SHUFFLE, CROP_Y, CROP_X, FLIP = range(4)


def draws(seed: int, epoch: int, purpose: int, index: npt.NDArray[Any]) -> Words:
    """Independent uniform 64-bit words.

    index  : (B,) int64, samples
    return : (B,) uint64
    source : splitmix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014
    """
    state = np.full(1, seed & 0xFFFFFFFFFFFFFFFF, np.uint64)  # arrays wrap around silently, scalars warn
    for word in (epoch, purpose):
        state = _mix(state ^ _mix(np.full(1, word, np.uint64)))
    words: Words = _mix(state ^ _mix(index.astype(np.uint64)))
    return words


def below(words: Words, limit: int) -> npt.NDArray[np.int64]:
    """Uniform integers from 0 to limit - 1 out of 64-bit words; limit up to 2**31."""
    return ((words >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)


def shuffled(size: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """A permutation of 0 .. size - 1, (size,) int64."""
    return np.argsort(draws(seed, epoch, SHUFFLE, np.arange(size)), kind="stable").astype(np.int64)


def _mix(words: Words) -> Words:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ words >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ words >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return words ^ words >> np.uint64(31)
