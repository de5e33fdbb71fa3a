"""(x * scale - mean) / std, per channel, in float32: the one arithmetic for training, evaluation and running."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.data.dataset import Array


class Normaliser:
    """Multiplies by scale / std and adds -mean / std, both rounded to float32 once.

    mean, std : one for all channels or one for each; () is 0 and 1
    scale     : None: 1/255 for uint8, 1 for floats
    dtype     : of what is normalised
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        scale: float | None,
        channels: int,
        dtype: np.dtype[np.generic],
    ) -> None:
        if scale is None:
            scale = 1 / 255 if dtype == np.uint8 else 1.0
        means = np.broadcast_to(np.array(tuple(mean) or (0.0,), np.float64), channels)
        deviations = np.broadcast_to(np.array(tuple(std) or (1.0,), np.float64), channels)
        self.factor: Array = (scale / deviations).astype(np.float32)
        self.offset: Array = (-means / deviations).astype(np.float32)

    def samples(self, values: Array, out: Array) -> None:
        """Samples that are no images, one mean for all: (N, ...) to (N, ...) float32."""
        np.multiply(values, self.factor, out=out)
        out += self.offset

    def images(self, images: Array, out: Array, planar: bool) -> None:
        """Images (N, H, W, C) to (N, H, W, C) float32, or to (N, C, H, W) if planar."""
        if planar and images.dtype == np.uint8 and images.flags.c_contiguous and out.flags.c_contiguous:
            from alula.runtime.compiler.loader import library

            n, h, w, c = images.shape
            library().call("pixels_to_planes", images, self.factor, self.offset, out, n, c, h * w)
            return
        if planar:
            np.multiply(images.transpose(0, 3, 1, 2), self.factor[:, None, None], out=out)
            out += self.offset[:, None, None]
            return
        n, h, w, c = images.shape
        # Rows as one axis: NumPy's inner loop is then W * C long instead of C
        rows = out.reshape(n, h, w * c)
        np.multiply(images.reshape(n, h, w * c), np.tile(self.factor, w), out=rows)
        rows += np.tile(self.offset, w)
