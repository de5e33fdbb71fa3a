# mypy: ignore-errors
"""Normalisation of channels by known statistics or those of each image, and of vectors by their norm.

The statistics of an image are computed over strips of pixels that fit the cache, each in two passes (the mean, relative to
the first pixel, then the squares about it). The rule of Chan, Golub and LeVeque joins them, so large means cause no cancellation.
"""

from alula.runtime.kernels.fmath import F, absolute, sqrt
from alula.runtime.kernels.lang import device, f32, f32p, i64, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.ops.reduce.kernel import vec_affine, vec_fill, vec_sum_abs, vec_sum_squares

BLOCK = 256  # channels whose norms stay in the first-level cache; a thread's scratch holds as many


@device
def vec_add_differences(x, start, y, n):
    """y += x - start."""
    for i in range(n):
        y[i] += x[i] - start[i]


@device
def vec_add_scaled(start, y, n, factor):
    """y = y * factor + start."""
    for i in range(n):
        y[i] = y[i] * factor + start[i]


@device
def vec_add_squares(x, mean, y, n):
    """y += (x - mean) ** 2."""
    for i in range(n):
        d = x[i] - mean[i]
        y[i] += d * d


@kernel
def f32_moments(x: f32p, moments: f32p, n: i64, pixels: i64, c: i64, strips: i64, tid: i64, n_threads: i64):
    """Statistics of each channel in each strip of pixels. x: (n, pixels, c); moments: (n, strips, 2, c).

    moments : the mean, and the sum of squares about it; strip s is pixels [pixels * s // strips, pixels * (s + 1) // strips)
    """
    units = n * strips
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        image, strip = unit // strips, unit % strips
        first, last = pixels * strip // strips, pixels * (strip + 1) // strips
        source = offset(x, (image * pixels + first) * c)
        mean, squares = offset(moments, 2 * unit * c), offset(moments, (2 * unit + 1) * c)
        vec_fill(mean, c, F(0.0))
        vec_fill(squares, c, F(0.0))
        for p in range(last - first):
            vec_add_differences(offset(source, p * c), source, mean, c)
        vec_add_scaled(source, mean, c, F(1.0) / F(last - first))
        for p in range(last - first):
            vec_add_squares(offset(source, p * c), mean, squares, c)


@kernel
def f32_join_moments(
    moments: f32p, scale: f32p, means: f32p, gains: f32p, n: i64, pixels: i64, c: i64, strips: i64, groups: i64,
    epsilon: f32, tid: i64, n_threads: i64,
):  # fmt: skip
    """Mean, and scale / sqrt(variance + epsilon), of each channel by its group of channels: (n, c) each."""
    size = c // groups
    units = n * groups
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        image, first = unit // groups, unit % groups * size
        count, mean, squares = F(0.0), F(0.0), F(0.0)
        for strip in range(strips):
            part = F(pixels * (strip + 1) // strips - pixels * strip // strips)
            here = offset(moments, 2 * (image * strips + strip) * c + first)
            for i in range(size):
                count += part
                difference = here[i] - mean
                share = difference * (part / count)
                squares += here[c + i] + difference * share * (count - part)
                mean += share
        gain = F(1.0) / sqrt(squares / F(pixels * size) + epsilon)
        for i in range(size):
            means[image * c + first + i] = mean
            gains[image * c + first + i] = gain * scale[first + i]


@device
def vec_normalise(x, mean, gain, bias, y, n):
    """y = (x - mean) * gain + bias, by channel."""
    for i in range(n):
        y[i] = (x[i] - mean[i]) * gain[i] + bias[i]


@kernel
def f32_normalise(
    x: f32p, mean: f32p, gain: f32p, bias: f32p, y: f32p, rows: i64, c: i64, image_rows: i64, tid: i64, n_threads: i64
):  # fmt: skip
    """y = (x - mean) * gain + bias. x, y: (rows, c); mean, gain: (rows / image_rows, c); bias: (c,)."""
    for row in range(rows * tid // n_threads, rows * (tid + 1) // n_threads):
        at = row // image_rows * c
        vec_normalise(offset(x, row * c), offset(mean, at), offset(gain, at), bias, offset(y, row * c), c)


@device
def vec_scale_by(x, scale, y, factor, n):
    """y = x * factor * scale, scale by element."""
    for i in range(n):
        y[i] = x[i] * factor * scale[i]


@kernel
def f32_rms_norm(x: f32p, scale: f32p, y: f32p, rows: i64, n: i64, epsilon: f32, tid: i64, n_threads: i64):
    """Divide each row of n by its root mean square, then scale by element."""
    for row in range(rows * tid // n_threads, rows * (tid + 1) // n_threads):
        source = offset(x, row * n)
        inverse = F(1.0) / sqrt(vec_sum_squares(source, F(0.0), n) / F(n) + epsilon)
        vec_scale_by(source, scale, offset(y, row * n), inverse, n)


@device
def vec_add_sizes(x, y, n, p):
    """y += |x| or x ** 2."""
    if p == 1:
        for i in range(n):
            y[i] += absolute(x[i])
    else:
        for i in range(n):
            y[i] += x[i] * x[i]


@device
def vec_invert_norms(y, n, p):
    """Sums of sizes to 1 / norm; 1 for a vector of zeros."""
    for i in range(n):
        norm = y[i] if p == 1 else sqrt(y[i])
        y[i] = F(1.0) if norm == F(0.0) else F(1.0) / norm


@device
def vec_product(x, factor, y, n):
    """y = x * factor, by element."""
    for i in range(n):
        y[i] = x[i] * factor[i]


@kernel(compact=True)
def f32_lp_norm(
    x: f32p, y: f32p, scratch: f32p, outer: i64, n: i64, inner: i64, p: i64, tid: i64, n_threads: i64
):  # fmt: skip
    """y[o, :, i] = x[o, :, i] / its p-norm. scratch: BLOCK elements a thread."""
    norms = offset(scratch, tid * BLOCK)
    if inner == 1:
        for o in range(outer * tid // n_threads, outer * (tid + 1) // n_threads):
            source = offset(x, o * n)
            norms[0] = vec_sum_abs(source, n) if p == 1 else vec_sum_squares(source, F(0.0), n)
            vec_invert_norms(norms, 1, p)
            vec_affine(source, offset(y, o * n), norms[0], F(0.0), n)
    else:
        blocks = (inner + BLOCK - 1) // BLOCK
        units = outer * blocks
        for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
            o, column = unit // blocks, unit % blocks * BLOCK
            columns = min(BLOCK, inner - column)
            vec_fill(norms, columns, F(0.0))
            for j in range(n):
                vec_add_sizes(offset(x, (o * n + j) * inner + column), norms, columns, p)
            vec_invert_norms(norms, columns, p)
            for j in range(n):
                at = (o * n + j) * inner + column
                vec_product(offset(x, at), norms, offset(y, at), columns)
