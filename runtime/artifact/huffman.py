"""Canonical Huffman codes of at most 12 bits, in four lanes that one core decodes in parallel.

A stream codes n symbols below 2**bits: first the code lengths, 4 bits a symbol, low half first; then the byte lengths
of the lanes, 4 x u32; then the lanes. Lane k holds symbols [k*c, min((k+1)*c, n)), c = ceil(n / 4), and begins on a byte.
Codes are canonical (by length, then by symbol) and are written first bit first, into bytes lowest bit
first. The code is complete: every 12 bits decode to something, so damage cannot lead a decoder astray.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from alula.runtime.errors import ArtifactError

MAX_CODE_LENGTH = 12
LANES = 4
TABLE_SIZE = 1 << MAX_CODE_LENGTH

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]


def code_lengths(counts: I64) -> U8:
    """Length of each symbol's code, at most 12 and optimal for these counts; 0 where a symbol does not occur.

    A lone symbol gets a partner that never occurs, so that the code is complete.
    source : package-merge, Larmore and Hirschberg 1990
    """
    lengths = np.zeros(len(counts), np.uint8)
    present = [int(symbol) for symbol in np.flatnonzero(counts)]
    while len(present) < 2:
        present = sorted([*present, 1 if 0 in present else 0])
    coins = sorted((int(counts[symbol]), (symbol,)) for symbol in present)
    packages: list[tuple[int, tuple[int, ...]]] = []
    for _ in range(MAX_CODE_LENGTH):
        merged = sorted(coins + packages, key=lambda item: item[0])
        packages = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(merged[::2], merged[1::2])]
    for _, symbols in packages[: len(present) - 1]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths


def is_complete(lengths: U8) -> bool:
    """Whether the code uses up all of its bit patterns: Kraft's sum is 1."""
    used = lengths[lengths > 0].astype(np.int64)
    return bool(len(used)) and int(used.max()) <= MAX_CODE_LENGTH and int((TABLE_SIZE >> used).sum()) == TABLE_SIZE


@cache
def _reversed_bits() -> NDArray[np.intp]:
    """Each 12-bit number with its bits in the opposite order."""
    index = np.arange(TABLE_SIZE)
    return sum(((index >> bit) & 1) << (MAX_CODE_LENGTH - 1 - bit) for bit in range(MAX_CODE_LENGTH))  # type: ignore[return-value]


def codes(lengths: U8) -> U32:
    """The code of each symbol, its first bit lowest."""
    order = np.lexsort((np.arange(len(lengths)), lengths))
    order = order[lengths[order] > 0]
    widths = lengths[order].astype(np.int64)
    starts = np.cumsum(TABLE_SIZE >> widths) - (TABLE_SIZE >> widths)  # first 12-bit number of each code
    result = np.zeros(len(lengths), np.uint32)
    result[order] = _reversed_bits()[starts]
    return result


def symbol_table(lengths: U8) -> tuple[U8, U8]:
    """(symbol, length of its code) that the next 12 bits begin with."""
    order = np.lexsort((np.arange(len(lengths)), lengths))
    order = order[lengths[order] > 0]
    runs = TABLE_SIZE >> lengths[order].astype(np.int64)
    symbols = np.repeat(order.astype(np.uint8), runs)[_reversed_bits()]
    return symbols, lengths[symbols]


def encode(symbols: U8, bits: int) -> bytes:
    """Code symbols below 2**bits."""
    lengths = code_lengths(np.bincount(symbols, minlength=1 << bits))
    words = codes(lengths)
    chunk = -(-len(symbols) // LANES)
    lanes = [_write_bits(words, lengths, symbols[lane * chunk : (lane + 1) * chunk]) for lane in range(LANES)]
    packed = np.resize(lengths, max(len(lengths), 2))
    header = (packed[::2] | packed[1::2] << 4).astype(np.uint8).tobytes()
    return header + np.array([len(lane) for lane in lanes], "<u4").tobytes() + b"".join(lanes)


def _write_bits(words: U32, lengths: U8, symbols: U8) -> bytes:
    """The codes of symbols one after the other, lowest bit first."""
    if not len(symbols):
        return b""
    widths = lengths[symbols].astype(np.int64)
    ends = np.cumsum(widths)
    starts = ends - widths
    code = words[symbols].astype(np.uint64)
    shift = (starts & 63).astype(np.uint64)
    word = starts >> 6
    # A code is shorter than 64 bits, so one begins in every word, and at most one reaches into the next.
    first = np.flatnonzero(np.diff(word, prepend=-1))
    buffer = np.zeros(int(word[-1]) + 2, np.uint64)
    buffer[: len(first)] = np.add.reduceat(code << shift, first)
    across = np.flatnonzero((starts & 63) + widths > 64)
    buffer[word[across] + 1] |= code[across] >> (np.uint64(64) - shift[across])
    return buffer.astype("<u8").tobytes()[: -(-int(ends[-1]) // 8)]


class Stream:
    """A stream that was checked: its code lengths, and where its lanes are.

    raise : ArtifactError if the stream cannot be one of n symbols below 2**bits
    """

    def __init__(self, data: memoryview, count: int, bits: int, where: str) -> None:
        table_size = max(1 << bits >> 1, 1)
        start = table_size + 4 * LANES
        if len(data) < start:
            raise ArtifactError(
                f"{where}: expected a Huffman stream of {start} bytes or more, got {len(data)}; the file is damaged"
            )
        packed = np.frombuffer(data[:table_size], np.uint8)
        self.lengths: U8 = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)  # contiguous: the kernel reads it
        if not is_complete(self.lengths):
            raise ArtifactError(
                f"{where}: expected a complete code of at most 12 bits, got another; the file is damaged"
            )
        sizes = [int(size) for size in np.frombuffer(data[table_size:start], "<u4")]
        self.count = count
        self.size = start + sum(sizes)
        chunk = -(-count // LANES)
        self.counts = [max(0, min(chunk, count - lane * chunk)) for lane in range(LANES)]
        if self.size > len(data) or any(8 * size < n or size > 2 * n for size, n in zip(sizes, self.counts)):
            raise ArtifactError(
                f"{where}: expected {LANES} lanes for {count} symbols, got {sizes} bytes; the file is damaged"
            )
        self.starts = [start + sum(sizes[:lane]) for lane in range(LANES)]
        self.sizes = sizes
        self.data = data[: self.size]

    @property
    def largest_symbol(self) -> int:
        """The largest symbol that has a code."""
        return int(np.flatnonzero(self.lengths)[-1])

    def is_used_up(self, ends: I64) -> bool:
        """Whether lanes that ended at these bits (from the stream's start) ended where they should, in zero bits."""
        for start, size, end in zip(self.starts, self.sizes, ends):
            used = int(end) - 8 * start
            if -(-used // 8) != size or (used & 7 and self.data[start + size - 1] >> (used & 7)):
                return False
        return True


def decode_reference(stream: Stream) -> tuple[U8, I64]:
    """Symbols, and the bit at which each lane ended: one symbol at a time, to compare the kernel with."""
    symbols, widths = symbol_table(stream.lengths)
    symbol_of, width_of = symbols.tolist(), widths.tolist()
    out = bytearray()
    ends = np.zeros(LANES, np.int64)
    padded = bytes(stream.data) + b"\0\0\0"
    for lane, (start, count) in enumerate(zip(stream.starts, stream.counts)):
        position, last = 8 * start, 8 * (start + stream.sizes[lane])
        for _ in range(count):
            byte = position >> 3
            bits = int.from_bytes(padded[byte : byte + 3], "little") >> (position & 7) & (TABLE_SIZE - 1)
            out.append(symbol_of[bits])
            position += width_of[bits]
            if position > last:
                break
        out.extend(bytes(sum(stream.counts[: lane + 1]) - len(out)))
        ends[lane] = position
    return np.frombuffer(bytes(out), np.uint8), ends
