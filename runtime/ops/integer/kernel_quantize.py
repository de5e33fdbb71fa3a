# mypy: ignore-errors
"""Affine quantisation of float32 to 8-bit codes and back.

The tensor is a matrix (rows, columns). A scale and a zero point belong to each column (by_column), or to each row,
where `n` different ones repeat; one for the whole tensor is a single row. Zero points come as float32.
"""

import numpy as np

from alula.runtime.kernels.fmath import F, rint
from alula.runtime.kernels.lang import device, f32, f32p, i8p, i64, kernel, u8p
from alula.runtime.kernels.memory import offset

CHUNK = 4096


@device
def code_of(x, scale, zero, low, high):
    """saturate(round(x / scale) + zero), halves to even; NaN gives the zero point."""
    rounded = rint(x / scale)
    rounded = F(0.0) if rounded != rounded else rounded
    return np.uint8(np.int32(min(max(rounded + zero, low), high)))


@device
def vec_quantize(x, scale, zero, y, n, low, high):
    """One scale."""
    for i in range(n):
        y[i] = code_of(x[i], scale, zero, low, high)


@device
def vec_quantize_each(x, scale, zero, y, n, low, high):
    """A scale per element."""
    for i in range(n):
        y[i] = code_of(x[i], scale[i], zero[i], low, high)


@kernel
def f32_quantize(
    x: f32p, scale: f32p, zero: f32p, y: u8p, rows: i64, columns: i64, n: i64, by_column: i64, low: f32, high: f32,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """Codes in [low, high]; int8 and uint8 have the same bytes."""
    chunks = (columns + CHUNK - 1) // CHUNK
    units = rows * chunks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        row, column = unit // chunks, unit % chunks * CHUNK
        count, at = min(CHUNK, columns - column), row * columns + column
        if by_column != 0:
            vec_quantize_each(
                offset(x, at), offset(scale, column), offset(zero, column), offset(y, at), count, low, high
            )
        else:
            vec_quantize(offset(x, at), scale[row % n], zero[row % n], offset(y, at), count, low, high)


@device
def vec_dequantize(x, scale, zero, y, n):
    """One scale."""
    for i in range(n):
        y[i] = (F(x[i]) - zero) * scale


@device
def vec_dequantize_each(x, scale, zero, y, n):
    """A scale per element."""
    for i in range(n):
        y[i] = (F(x[i]) - zero[i]) * scale[i]


@device
def dequantize(x, scale, zero, y, rows, columns, n, by_column, tid, n_threads):
    """(code - zero) * scale."""
    chunks = (columns + CHUNK - 1) // CHUNK
    units = rows * chunks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        row, column = unit // chunks, unit % chunks * CHUNK
        count, at = min(CHUNK, columns - column), row * columns + column
        if by_column != 0:
            vec_dequantize_each(offset(x, at), offset(scale, column), offset(zero, column), offset(y, at), count)
        else:
            vec_dequantize(offset(x, at), scale[row % n], zero[row % n], offset(y, at), count)


@kernel
def u8_dequantize(
    x: u8p, scale: f32p, zero: f32p, y: f32p, rows: i64, columns: i64, n: i64, by_column: i64, tid: i64, n_threads: i64
):  # fmt: skip
    """From uint8."""
    dequantize(x, scale, zero, y, rows, columns, n, by_column, tid, n_threads)


@kernel
def s8_dequantize(
    x: i8p, scale: f32p, zero: f32p, y: f32p, rows: i64, columns: i64, n: i64, by_column: i64, tid: i64, n_threads: i64
):  # fmt: skip
    """From int8."""
    dequantize(x, scale, zero, y, rows, columns, n, by_column, tid, n_threads)
