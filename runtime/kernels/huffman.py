"""Decoding the integer streams of an artifact: Huffman codes to symbols, symbols to weights."""

import numpy as np

from alula.runtime.kernels.lang import device, f32p, i32p, i64, i64p, kernel, u8p
from alula.runtime.kernels.memory import address_of, load_u64_unaligned

# An entry of the table says what the next 12 bits decode to: one symbol, or two where both codes fit. Byte 0: bits used;
# byte 1: symbols, 1 or 2 (low half), bits of the first one (high half); bytes 2 and 3: the symbols.
TABLE_BITS, TABLE_SIZE = 12, 4096
STEP_BITS, STEP_SYMBOLS = 48, 8  # four look-ups use at most 48 of the 57 bits that one load brings


@device
def load_bits(address, position):
    """57 bits or more from a bit position on."""
    return load_u64_unaligned(address + (position >> 3)) >> np.uint64(position & 7)


@device
def look_up(table, bits):
    """The entry for the next 12 bits."""
    return np.int64(table[np.int64(bits & np.uint64(4095))])


@device
def decode(table, out, bits, position, at):
    """One look-up: write two symbols, of which perhaps only the first one counts, and continue after those that do."""
    entry = look_up(table, bits)
    out[at] = np.uint8((entry >> 16) & 255)
    out[at + 1] = np.uint8((entry >> 24) & 255)
    return bits >> np.uint64(entry & 63), position + (entry & 63), at + ((entry >> 8) & 3)


@device
def finish_lane(base, table, out, state, at):
    """Decode the rest of a lane, a symbol at a time, with a check before each."""
    position, end_bit, symbol, end_symbol = state[at], state[at + 1], state[at + 2], state[at + 3]
    while symbol < end_symbol and position < end_bit:
        entry = look_up(table, load_bits(base, position))
        out[symbol] = np.uint8((entry >> 16) & 255)
        position += (entry >> 12) & 15
        symbol += 1
    state[at], state[at + 2] = position, symbol


@device
def make_table(lengths, n_symbols, table):
    """The table of a complete canonical code."""
    code = 0
    for width in range(1, TABLE_BITS + 1):
        for symbol in range(n_symbols):
            if np.int64(lengths[symbol]) == width:
                at = 0  # the code with its first bit lowest
                for bit in range(width):
                    at |= ((code >> bit) & 1) << (width - 1 - bit)
                entry = symbol << 16 | width << 12 | 1 << 8 | width
                for _ in range(1 << (TABLE_BITS - width)):
                    table[at] = np.int32(entry)
                    at += 1 << width
                code += 1
        code <<= 1
    for down in range(TABLE_SIZE):  # downwards: what follows a code is a smaller index, where there is one symbol yet
        at = TABLE_SIZE - 1 - down
        first = np.int64(table[at])
        second = np.int64(table[at >> (first & 63)])
        both = (first & 63) + (second & 63)
        if both <= TABLE_BITS:
            table[at] = np.int32((second >> 16 & 255) << 24 | (first & 0x00FFF000) | 2 << 8 | both)


@kernel
def huffman_decode(
    data: u8p, lengths: u8p, n_symbols: i64, table: i32p, out: u8p, state: i64p, tid: i64, n_threads: i64
):
    """Decode four lanes side by side, on one core. `data` must be readable for 8 bytes after the last lane.

    lengths : of the code of each symbol; Kraft's sum is 1
    table   : scratch, 4096 entries
    state   : 4 words a lane: bit position, end of its bits, next symbol, end of its symbols. A lane that needs more bits
              than it has is left off where they end, and its state says so
    """
    if tid != 0:
        return
    make_table(lengths, n_symbols, table)
    base = address_of(data)
    p0, p1, p2, p3 = state[0], state[4], state[8], state[12]
    o0, o1, o2, o3 = state[2], state[6], state[10], state[14]
    while True:
        # Steps that surely neither read nor write past a lane's end, whatever the bits are
        steps = min(min(state[1] - p0, state[5] - p1), min(state[9] - p2, state[13] - p3)) // STEP_BITS
        steps = min(steps, min(min(state[3] - o0, state[7] - o1), min(state[11] - o2, state[15] - o3)) // STEP_SYMBOLS)
        if steps <= 0:
            break
        for _ in range(steps):
            b0, b1, b2, b3 = load_bits(base, p0), load_bits(base, p1), load_bits(base, p2), load_bits(base, p3)
            for _ in range(4):
                b0, p0, o0 = decode(table, out, b0, p0, o0)
                b1, p1, o1 = decode(table, out, b1, p1, o1)
                b2, p2, o2 = decode(table, out, b2, p2, o2)
                b3, p3, o3 = decode(table, out, b3, p3, o3)
    state[0], state[4], state[8], state[12] = p0, p1, p2, p3
    state[2], state[6], state[10], state[14] = o0, o1, o2, o3
    for lane in range(4):
        finish_lane(base, table, out, state, 4 * lane)


@kernel
def codebook_lookup(
    codes: u8p,
    values: f32p,
    scales: f32p,
    zeros: f32p,
    out: f32p,
    outer: i64,
    channels: i64,
    inner: i64,
    tid: i64,
    n_threads: i64,
):
    """out[o, c, i] = (values[codes[o, c, i]] - zeros[c]) * scales[c]; `values` has 256 entries."""
    if inner == 1:
        for o in range(outer * tid // n_threads, outer * (tid + 1) // n_threads):
            for c in range(channels):
                at = o * channels + c
                out[at] = (values[np.int64(codes[at])] - zeros[c]) * scales[c]
        return
    rows = outer * channels
    for row in range(rows * tid // n_threads, rows * (tid + 1) // n_threads):
        zero, scale = zeros[row % channels], scales[row % channels]
        for at in range(row * inner, row * inner + inner):
            out[at] = (values[np.int64(codes[at])] - zero) * scale


@kernel
def merge_planes(plane0: u8p, plane1: u8p, plane2: u8p, plane3: u8p, out: i32p, n: i64, tid: i64, n_threads: i64):
    """Elements of 4 bytes from their byte planes, the lowest first."""
    for i in range(n * tid // n_threads, n * (tid + 1) // n_threads):
        low = np.int32(plane0[i]) | np.int32(plane1[i]) << np.int32(8)
        high = np.int32(plane2[i]) | np.int32(plane3[i]) << np.int32(8)
        out[i] = np.int32(low | high << np.int32(16))
