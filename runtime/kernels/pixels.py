# mypy: ignore-errors
"""Images of bytes as planes of floats."""

import numpy as np

from alula.runtime.kernels.lang import f32p, i64, kernel, u8p
from alula.runtime.kernels.memory import offset


@kernel(compact=True, fastmath=frozenset())
def pixels_to_planes(
    x: u8p, factor: f32p, shift: f32p, y: f32p, images: i64, channels: i64, n: i64, tid: i64, n_threads: i64
):  # fmt: skip
    """y[i, c, p] = x[i, p, c] * factor[c] + shift[c], rounded after each: images of n pixels."""
    for plane in range(images * channels * tid // n_threads, images * channels * (tid + 1) // n_threads):
        i, c = plane // channels, plane % channels
        source, target = offset(x, i * channels * n + c), offset(y, plane * n)
        f, s = factor[c], shift[c]
        if channels == 3:
            for p in range(n):
                target[p] = np.float32(source[3 * p]) * f + s
        else:
            for p in range(n):
                target[p] = np.float32(source[channels * p]) * f + s
