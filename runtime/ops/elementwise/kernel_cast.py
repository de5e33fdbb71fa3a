# mypy: ignore-errors
"""Casts between element types. Floats truncate towards zero, integers wrap, anything but zero is true.

float16 is converted with integer arithmetic only, so it needs no CPU instruction and no library.
source: F. Giesen, half_to_float_fast and float_to_half_fast3_rtne (gist.github.com/rygorous/2156668), public domain
"""

import numpy as np

from alula.runtime.kernels.fmath import F
from alula.runtime.kernels.lang import device, f32p, i8p, i32p, i64, i64p, kernel, u8p, u16p
from alula.runtime.kernels.memory import f32_at, f32_of_i32_bits, i32_at, i32_bits, i64_at, offset, u8_at, u16_at

CHUNK = 4096
FLOAT32, INT32, INT64, BYTE, BOOL, FLOAT16 = range(6)  # BYTE: uint8 and int8, whose bits are the same


def _loop(function):
    convert = device(function)

    def vec_cast(x, y, n):
        for i in range(n):
            y[i] = convert(x[i])

    return device(vec_cast)


@device
def half_of(x):
    """The bits of the float16 nearest to a float32, halves to even."""
    bits = i32_bits(x)
    sign = (bits >> np.int32(16)) & np.int32(0x8000)
    bits = bits & np.int32(0x7FFFFFFF)
    large = np.int32(0x7E00) if bits > np.int32(0x7F800000) else np.int32(0x7C00)
    # below 2 ** -14 the sum with 0.5 shifts and rounds the mantissa into place
    small = i32_bits(f32_of_i32_bits(bits) + F(0.5)) - np.int32(0x3F000000)
    normal = (bits - np.int32(112 << 23) + np.int32(0xFFF) + ((bits >> np.int32(13)) & np.int32(1))) >> np.int32(13)
    result = small if bits < np.int32(113 << 23) else normal
    result = large if bits >= np.int32(143 << 23) else result
    return result | sign


@device
def float_of(h):
    """The float32 of a float16's bits."""
    bits = np.int32(h)
    value = f32_of_i32_bits((bits & np.int32(0x7FFF)) << np.int32(13)) * F(2.0**112)
    special = (bits & np.int32(0x7C00)) == np.int32(0x7C00)  # infinity or NaN
    found = i32_bits(value) | (np.int32(0x7F800000) if special else np.int32(0))
    return f32_of_i32_bits(found | ((bits & np.int32(0x8000)) << np.int32(16)))


to_f32 = _loop(lambda v: np.float32(v))
to_i32 = _loop(lambda v: np.int32(v))
to_i64 = _loop(lambda v: np.int64(v))
to_byte = _loop(lambda v: np.uint8(np.int32(v)))
to_bool = _loop(lambda v: np.uint8(1) if v != 0 else np.uint8(0))
to_f16 = _loop(lambda v: half_of(v))
from_f16 = _loop(lambda v: float_of(v))


@device
def cast_chunks(x, y, n, to, tid, n_threads):
    """Cast n elements; `y` is an address."""
    chunks = (n + CHUNK - 1) // CHUNK
    for chunk in range(chunks * tid // n_threads, chunks * (tid + 1) // n_threads):
        at = chunk * CHUNK
        count = min(CHUNK, n - at)
        source = offset(x, at)
        if to == FLOAT32:
            to_f32(source, offset(f32_at(y), at), count)
        elif to == INT32:
            to_i32(source, offset(i32_at(y), at), count)
        elif to == INT64:
            to_i64(source, offset(i64_at(y), at), count)
        elif to == BYTE:
            to_byte(source, offset(u8_at(y), at), count)
        elif to == BOOL:
            to_bool(source, offset(u8_at(y), at), count)


@kernel
def f32_cast(x: f32p, y: i64, n: i64, to: i64, tid: i64, n_threads: i64):
    """From float32."""
    if to == FLOAT16:
        chunks = (n + CHUNK - 1) // CHUNK
        for chunk in range(chunks * tid // n_threads, chunks * (tid + 1) // n_threads):
            to_f16(offset(x, chunk * CHUNK), offset(u16_at(y), chunk * CHUNK), min(CHUNK, n - chunk * CHUNK))
    else:
        cast_chunks(x, y, n, to, tid, n_threads)


@kernel
def f16_cast(x: u16p, y: f32p, n: i64, tid: i64, n_threads: i64):
    """From float16 to float32."""
    chunks = (n + CHUNK - 1) // CHUNK
    for chunk in range(chunks * tid // n_threads, chunks * (tid + 1) // n_threads):
        from_f16(offset(x, chunk * CHUNK), offset(y, chunk * CHUNK), min(CHUNK, n - chunk * CHUNK))


@kernel
def s32_cast(x: i32p, y: i64, n: i64, to: i64, tid: i64, n_threads: i64):
    """From int32."""
    cast_chunks(x, y, n, to, tid, n_threads)


@kernel
def s64_cast(x: i64p, y: i64, n: i64, to: i64, tid: i64, n_threads: i64):
    """From int64."""
    cast_chunks(x, y, n, to, tid, n_threads)


@kernel(compact=True)
def u8_cast(x: u8p, y: i64, n: i64, to: i64, tid: i64, n_threads: i64):
    """From uint8 and bool."""
    cast_chunks(x, y, n, to, tid, n_threads)


@kernel(compact=True)
def s8_cast(x: i8p, y: i64, n: i64, to: i64, tid: i64, n_threads: i64):
    """From int8."""
    cast_chunks(x, y, n, to, tid, n_threads)
