"""Encodings give back what went in: exactly, or exactly what the codes say."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.artifact.encodings import (
    Encoded,
    decode,
    encode_affine,
    encode_codebook,
    encode_exact,
    encode_raw,
    smallest,
)
from alula.runtime.errors import ArtifactError
from alula.runtime.graph import DTYPES, TensorSpec

SHAPES = [(), (0, 3), (1,), (7,), (16, 3, 3, 5), (33, 65)]


def values(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random values over the dtype's whole range, special ones of floats included."""
    generator = np.random.default_rng(seed)
    if dtype == "bool":
        return generator.random(shape) < 0.3
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    array = np.asarray(generator.normal(size=shape)).astype(dtype)
    special = np.array([-0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).tiny], dtype)
    flat = array.reshape(-1)
    flat[: min(5, flat.size)] = special[: min(5, flat.size)]
    return array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exact_encodings_keep_every_bit(dtype: str, shape: tuple[int, ...]) -> None:
    array = values(dtype, shape, 3)
    for candidate in (array, np.repeat(array[..., None], 40, axis=-1)):
        for entropy in (True, False):
            encoded = encode_exact(candidate, entropy)
            decoded = decode(encoded, "here")
            assert decoded.dtype == candidate.dtype
            assert decoded.shape == candidate.shape
            assert decoded.tobytes() == candidate.tobytes()
            assert len(encoded.payload) <= candidate.nbytes


def test_weights_of_few_values_become_a_codebook() -> None:
    signs = np.sign(np.random.default_rng(0).normal(size=(64, 9))).astype(np.float32)
    encoded = encode_exact(signs)
    assert (encoded.encoding, encoded.bits) == ("codebook", 1)
    assert encoded.bits_per_weight < 1.2


def test_trained_weights_shrink_without_loss_by_their_exponents() -> None:
    weights = np.random.default_rng(0).normal(0, 0.05, (128, 256)).astype(np.float32)
    encoded = encode_exact(weights)
    assert (encoded.encoding, encoded.coding, encoded.planes) == ("raw", "huffman", (3,))
    assert encoded.bits_per_weight < 28


def test_plain_raw_elements_are_a_read_only_view() -> None:
    encoded = encode_raw(np.arange(64, dtype=np.float32), entropy=False)
    decoded = decode(encoded, "here")
    assert not decoded.flags.writeable
    assert decoded.base is not None


@pytest.mark.parametrize("axis", [-1, 0, 1, 3])
@pytest.mark.parametrize("bits", [1, 4, 6, 8])
def test_codes_become_what_their_formula_says(axis: int, bits: int) -> None:
    generator = np.random.default_rng(bits)
    shape = (24, 3, 5, 7)
    channels = shape[axis] if axis >= 0 else 1
    along = [1] * 4
    if axis >= 0:
        along[axis] = -1
    scales = generator.uniform(0.1, 2, channels).astype(np.float32)
    spec = TensorSpec(shape)

    codes = np.clip(generator.normal(1 << bits >> 1, (1 << bits) / 8, shape), 0, (1 << bits) - 1).astype(np.uint8)
    codebook = generator.normal(size=1 << bits).astype(np.float32)
    for entropy in (True, False):
        encoded = encode_codebook(spec, codes, codebook, scales if axis >= 0 else None, axis, entropy)
        expected = codebook[codes] * (scales.reshape(along) if axis >= 0 else np.float32(1))
        assert (decode(encoded, "here") == expected).all()

    codes = np.clip(generator.normal(120, 10, shape), 0, 255).astype(np.uint8)
    zeros = generator.integers(0, 256, channels).astype(np.uint8)
    encoded = encode_affine(spec, codes, scales, zeros, axis)
    assert encoded.coding == "huffman"
    expected = (codes.astype(np.float32) - zeros.astype(np.float32).reshape(along)) * scales.reshape(along)
    assert (decode(encoded, "here") == expected).all()


def test_codes_beyond_the_codebook_are_refused() -> None:
    spec = TensorSpec((40,))
    encoded = encode_codebook(spec, np.full(40, 6, np.uint8), np.arange(7, dtype=np.float32), entropy=False)
    payload = bytes(encoded.payload[:-1]) + b"\xff"
    with pytest.raises(ArtifactError, match="below 7, got 7"):
        decode(Encoded(spec, "codebook", "plain", payload, bits=3, values=7), "here")


def test_bools_that_are_none_are_refused() -> None:
    with pytest.raises(ArtifactError, match="bools of 0 and 1, got 2"):
        decode(Encoded(TensorSpec((3,), "bool"), "raw", "plain", b"\0\1\2"), "here")


def test_the_smallest_candidate_wins() -> None:
    spec = TensorSpec((4,))
    sizes = [Encoded(spec, "raw", "plain", bytes(n)) for n in (9, 4, 4, 7)]
    assert smallest(sizes) is sizes[1]
