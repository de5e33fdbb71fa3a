# mypy: ignore-errors
"""Resampling: one axis as weighted sums of a few elements, one or two axes as plain copies."""

from alula.runtime.kernels.lang import device, f32p, i64, i64p, kernel, u8p
from alula.runtime.kernels.memory import offset

BLOCK = 4096  # elements of a long row that one thread takes at a time
SHORT = 8  # rows below this are not worth a loop of their own


@device
def vec_scale(a, p, y, n):
    """y = a * p."""
    for i in range(n):
        y[i] = a[i] * p


@device
def vec_blend_2(a, b, p, q, y, n):
    """y = a * p + b * q."""
    for i in range(n):
        y[i] = a[i] * p + b[i] * q


@device
def vec_blend_4(a, b, c, d, p, q, r, s, y, n):
    """y = a * p + b * q + c * r + d * s."""
    for i in range(n):
        y[i] = a[i] * p + b[i] * q + c[i] * r + d[i] * s


@device
def vec_add_scaled(a, p, y, n):
    """y += a * p."""
    for i in range(n):
        y[i] += a[i] * p


@device
def blend(x, stride, taps, indices, weights, y, n):
    """y[:n] = the sum of weights[t] * (row indices[t] of x), rows `stride` elements apart."""
    if taps == 2:
        vec_blend_2(offset(x, indices[0] * stride), offset(x, indices[1] * stride), weights[0], weights[1], y, n)
    elif taps == 4:
        vec_blend_4(offset(x, indices[0] * stride), offset(x, indices[1] * stride), offset(x, indices[2] * stride),
                    offset(x, indices[3] * stride), weights[0], weights[1], weights[2], weights[3], y, n)  # fmt: skip
    else:
        vec_scale(offset(x, indices[0] * stride), weights[0], y, n)
        for t in range(1, taps):
            vec_add_scaled(offset(x, indices[t] * stride), weights[t], y, n)


@kernel
def f32_resample(
    x: f32p, y: f32p, indices: i64p, weights: f32p, outer: i64, n: i64, inner: i64, out: i64, taps: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """y[o, j, i] = sum over t of weights[j, t] * x[o, indices[j, t], i]; x: (outer, n, inner), y: (outer, out, inner)."""
    if inner < SHORT:
        rows = outer * out
        for row in range(rows * tid // n_threads, rows * (tid + 1) // n_threads):
            o, j = row // out, row % out
            source = offset(x, o * n * inner)
            for i in range(inner):
                total = source[indices[j * taps] * inner + i] * weights[j * taps]
                for t in range(1, taps):
                    total += source[indices[j * taps + t] * inner + i] * weights[j * taps + t]
                y[row * inner + i] = total
    else:
        blocks = (inner + BLOCK - 1) // BLOCK
        units = outer * out * blocks
        for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
            row, column = unit // blocks, unit % blocks * BLOCK
            o, j = row // out, row % out
            source = offset(x, o * n * inner + column)
            target = offset(y, row * inner + column)
            blend(
                source,
                inner,
                taps,
                offset(indices, j * taps),
                offset(weights, j * taps),
                target,
                min(BLOCK, inner - column),
            )


@device
def vec_copy(x, y, n):
    """y = x."""
    for i in range(n):
        y[i] = x[i]


@kernel
def resize_nearest(
    x: u8p, y: u8p, rows: i64p, columns: i64p, outer: i64, h: i64, w: i64, inner: i64, h_out: i64, w_out: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """y[o, j, k] = x[o, rows[j], columns[k]], elements of `inner` bytes; x: (outer, h, w), y: (outer, h_out, w_out)."""
    lines = outer * h_out
    begin = lines * tid // n_threads
    line_bytes = w_out * inner
    for line in range(begin, lines * (tid + 1) // n_threads):
        o, j = line // h_out, line % h_out
        target = offset(y, line * line_bytes)
        if line > begin and j > 0 and rows[j] == rows[j - 1]:  # as the line before it, which this thread wrote
            vec_copy(offset(target, -line_bytes), target, line_bytes)
        else:
            source = offset(x, (o * h + rows[j]) * w * inner)
            for k in range(w_out):
                vec_copy(offset(source, columns[k] * inner), offset(target, k * inner), inner)
