"""Huffman streams: optimal codes, and a kernel that agrees with the plain decoder on everything, damage included."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from alula.runtime.artifact import codes as code_stream
from alula.runtime.artifact import huffman
from alula.runtime.errors import ArtifactError

COUNTS = [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100, 1000, 4097]


def skewed(generator: np.random.Generator, count: int, bits: int) -> np.ndarray:
    """Codes that gather around the middle, as those of weights do."""
    spread = generator.uniform(0.05, 0.4) * (1 << bits)
    return np.clip(generator.normal((1 << bits) / 2, spread, count), 0, (1 << bits) - 1).astype(np.uint8)


def unlimited_cost(counts: np.ndarray) -> int:
    """Bits of Huffman's own code, without a limit on lengths."""
    heap = [int(c) for c in counts if c]
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        cost += pair
        heapq.heappush(heap, pair)
    return cost


@pytest.mark.parametrize("bits", range(1, 9))
def test_code_is_complete_and_costs_what_huffmans_costs(bits: int) -> None:
    generator = np.random.default_rng(bits)
    for _ in range(10):
        counts = np.bincount(skewed(generator, 300, bits), minlength=1 << bits)
        lengths = huffman.code_lengths(counts)
        assert huffman.is_complete(lengths)
        assert ((lengths > 0) == (counts > 0)).all() or (counts > 0).sum() < 2
        if (counts > 0).sum() > 1:  # 300 symbols never need more than 12 bits by Huffman's own code
            assert int((counts * lengths).sum()) == unlimited_cost(counts)


def test_code_lengths_stay_within_12_bits_where_huffmans_own_would_not() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = huffman.code_lengths(np.array(fibonacci + [0] * 24))
    assert lengths.max() == 12
    assert huffman.is_complete(lengths)
    assert (np.diff(lengths[:40].astype(int)) <= 0).all()  # more frequent, never longer


@pytest.mark.parametrize("symbol", [0, 1, 5, 255])
def test_lone_symbol_gets_a_partner(symbol: int) -> None:
    lengths = huffman.code_lengths(np.bincount([symbol] * 9, minlength=256))
    assert sorted(lengths[lengths > 0]) == [1, 1]
    assert lengths[symbol] == 1


@pytest.mark.parametrize("bits", range(1, 9))
def test_kernel_and_reference_give_back_the_symbols(bits: int) -> None:
    generator = np.random.default_rng(10 + bits)
    for count in COUNTS:
        symbols = skewed(generator, count, bits)
        data = huffman.encode(symbols, bits)
        stream = huffman.Stream(memoryview(data + b"rest"), count, bits, "here")
        decoded, ends = huffman.decode_reference(stream)
        assert (decoded == symbols).all()
        assert stream.is_used_up(ends)
        by_kernel, used = code_stream.decode_huffman(memoryview(data + b"rest"), count, bits, "here")
        assert (by_kernel == symbols).all()
        assert used == len(data)


@pytest.mark.parametrize("bits", [1, 3, 6, 8])
def test_damaged_streams_are_refused_or_decode_alike(bits: int) -> None:
    generator = np.random.default_rng(20 + bits)
    refused = 0
    for _ in range(150):
        count = int(generator.integers(1, 200))
        data = bytearray(huffman.encode(skewed(generator, count, bits), bits))
        for _ in range(int(generator.integers(1, 4))):
            data[generator.integers(len(data))] ^= 1 << generator.integers(8)
        if generator.random() < 0.2:
            del data[generator.integers(len(data)) :]
        try:
            by_kernel, _ = code_stream.decode_huffman(memoryview(data), count, bits, "here")
        except ArtifactError:
            refused += 1
            continue
        stream = huffman.Stream(memoryview(data), count, bits, "here")
        decoded, ends = huffman.decode_reference(stream)
        assert stream.is_used_up(ends)
        assert (decoded == by_kernel).all()
    assert refused > 75


def test_streams_that_cannot_be_are_refused() -> None:
    data = huffman.encode(np.arange(64, dtype=np.uint8), 6)
    for wrong, message in [
        (data[:20], "48 bytes or more"),
        (bytes(32) + data[32:], "complete code"),
        (b"\x11" * 32 + data[32:], "complete code"),
        (b"\xdd" * 32 + data[32:], "complete code"),
        (data[:32] + b"\xff" * 4 + data[36:], "lanes"),
        (data[:-1], "lanes"),
    ]:
        with pytest.raises(ArtifactError, match=message):
            huffman.Stream(memoryview(wrong), 64, 6, "here")
    with pytest.raises(ArtifactError, match="lanes"):
        huffman.Stream(memoryview(data), 1 << 40, 6, "here")


@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_codes_come_back_at_any_length(bits: int) -> None:
    generator = np.random.default_rng(30 + bits)
    for count in [0, *COUNTS]:
        codes = generator.integers(0, 1 << bits, count).astype(np.uint8)
        data = code_stream.pack(codes, bits)
        assert len(data) == code_stream.packed_size(count, bits)
        assert (code_stream.unpack(memoryview(data), count, bits) == codes).all()


def test_packed_codes_begin_at_the_lowest_bit() -> None:
    assert code_stream.pack(np.array([5, 2, 7], np.uint8), 3) == bytes([0b11_010_101, 0b1])
