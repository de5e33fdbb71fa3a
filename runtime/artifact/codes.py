"""Integer codes of 1 to 8 bits as bytes: with a fixed width (lowest bit first), or Huffman coded if that is smaller."""

from __future__ import annotations

import numpy as np

from alula.runtime.artifact import huffman
from alula.runtime.artifact.format import DAMAGED
from alula.runtime.artifact.huffman import LANES, U8
from alula.runtime.errors import ArtifactError

KERNEL_SLACK = 8  # bytes that the kernel may read after the last lane


def pack(codes: U8, bits: int) -> bytes:
    """Codes below 2**bits at a fixed width: code i is bits i*bits to (i+1)*bits - 1, lowest first."""
    if bits == 8:
        return codes.tobytes()
    groups = np.zeros((-(-len(codes) // 8), 8), np.uint64)  # 8 codes are `bits` bytes
    groups.reshape(-1)[: len(codes)] = codes
    shifts = np.arange(8, dtype=np.uint64) * np.uint64(bits)
    words: U8 = np.bitwise_or.reduce(groups << shifts, axis=1).astype("<u8").view(np.uint8)
    return words.reshape(-1, 8)[:, :bits].tobytes()[: packed_size(len(codes), bits)]


def unpack(data: memoryview, count: int, bits: int) -> U8:
    """The codes that `pack` wrote."""
    if bits == 8:
        return np.frombuffer(data, np.uint8)
    groups = -(-count // 8)
    padded = np.zeros(groups * bits, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    words = np.zeros((groups, 8), np.uint8)
    words[:, :bits] = padded.reshape(groups, bits)
    shifts = np.arange(8, dtype=np.uint64) * np.uint64(bits)
    codes: U8 = ((words.view("<u8") >> shifts) & np.uint64((1 << bits) - 1)).astype(np.uint8)
    return codes.reshape(-1)[:count]


def packed_size(count: int, bits: int) -> int:
    """Bytes of packed codes."""
    return -(-count * bits // 8)


def smallest_coded_size(count: int, bits: int) -> int:
    """Minimum bytes of Huffman coded codes: one bit each, and the table."""
    return max(1 << bits >> 1, 1) + 4 * LANES + -(-count // 8)


def decode_huffman(data: memoryview, count: int, bits: int, where: str) -> tuple[U8, int]:
    """Symbols, and how many bytes of `data` they took. Decoded by the kernel, on this thread.

    raise : ArtifactError if the stream is not one of `count` symbols
    """
    from alula.runtime.compiler import library

    stream = huffman.Stream(data, count, bits, where)
    padded = np.empty(stream.size + KERNEL_SLACK, np.uint8)
    padded[: stream.size] = np.frombuffer(stream.data, np.uint8)
    padded[stream.size :] = 0
    symbols = np.empty(count, np.uint8)
    words, first = [], 0  # of each lane: bit position, end of its bits, next symbol, end of its symbols
    for start, size, n in zip(stream.starts, stream.sizes, stream.counts):
        words += [8 * start, 8 * (start + size), first, first + n]
        first += n
    state = np.array(words, np.int64)
    table = np.empty(huffman.TABLE_SIZE, np.int32)
    library().call("huffman_decode", padded, stream.lengths, len(stream.lengths), table, symbols, state)
    if state[2::4].tolist() != words[3::4] or not stream.is_used_up(state[::4]):
        raise ArtifactError(f"{where}: expected lanes that end with their last symbol, got others; {DAMAGED}")
    return symbols, stream.size
