"""Crop, flip and normalise a batch at once. Each draw depends on (seed, epoch, sample) alone; see `order.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from alula.runtime.data.choices import LAYOUTS
from alula.runtime.data.dataset import Array, Dataset, Labels
from alula.runtime.data.normalise import Normaliser
from alula.runtime.data.order import CROP_X, CROP_Y, FLIP, below, draws
from alula.runtime.errors import DataError
from alula.runtime.frozen import frozen

FLOAT32_EPS = 2.0**-23


@dataclass(frozen=True)
class Augment:
    """What is done to each image: padding, crop, flip, then (x * scale - mean) / std.

    crop    : (H, W) that is cut out; None: the stored size
    padding : border added on every side before the crop
    fill    : value of that border, as stored (0 is black)
    flip    : mirror one image in two from left to right
    mean    : one for all channels or one for each, after the scale; () is 0
    std     : likewise; () is 1
    scale   : None: 1/255 for uint8, 1 for floats
    random  : False: crop the centre, flip nothing
    raise   : DataError if it does not fit together
    """

    crop: tuple[int, int] | None = None
    padding: int = 0
    fill: int = 0
    flip: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float | None = None
    random: bool = True

    def __post_init__(self) -> None:
        if self.padding < 0 or not 0 <= self.fill <= 255 or (self.crop is not None and min(self.crop) < 1):
            raise DataError(
                f"augment: expected padding >= 0, fill from 0 to 255 and a crop of 1x1 or more, got padding "
                f"{self.padding}, fill {self.fill}, crop {self.crop}; correct them"
            )
        numbers = np.array([*self.mean, *self.std, 1.0 if self.scale is None else self.scale], np.float64)
        if not np.isfinite(numbers).all() or any(value <= 0 for value in self.std):
            raise DataError(
                f"augment: expected a finite mean and scale and std above 0, got mean {self.mean}, std {self.std}, "
                f"scale {self.scale}; a channel that never changes has std 0: take 1"
            )

    def for_evaluation(self) -> Augment:
        """The same size and normalisation without chance: the centre of the image, not flipped."""
        return replace(self, random=False)

    def sample_shape(self, shape: tuple[int, ...], name: str = "augment") -> tuple[int, ...]:
        """Shape of a sample afterwards.

        raise : DataError if the crop or the channels do not fit
        """
        channels = shape[-1] if len(shape) == 3 else 1
        for what, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, channels):
                raise DataError(f"{name}: expected {what} of {channels} channels, got {len(values)}; give one for each")
        if len(shape) != 3:
            if self.crop or self.padding or self.flip:
                raise DataError(f"{name}: expected images (H, W, C) to crop or flip, got samples {shape}; leave it out")
            return shape
        h, w, c = shape
        crop_h, crop_w = self.crop or (h, w)
        if crop_h > h + 2 * self.padding or crop_w > w + 2 * self.padding:
            raise DataError(
                f"{name}: expected a crop of at most {h + 2 * self.padding}x{w + 2 * self.padding}, got "
                f"{crop_h}x{crop_w}; make it smaller, or the padding larger"
            )
        return (crop_h, crop_w, c)


class Augmenter:
    """An `Augment` at work on batches of one set, with its scratch memory.

    layout : of the images that come out, NHWC or NCHW
    """

    def __init__(self, augment: Augment, data: Dataset, batch: int, seed: int, layout: str = "NHWC") -> None:
        if layout not in LAYOUTS:
            raise DataError(f"{data.name}: expected layout {' or '.join(LAYOUTS)}, got {layout!r}")
        self._augment, self._seed = augment, seed
        self._shape = data.shape
        sample = augment.sample_shape(data.shape, data.name)
        self._sample = sample
        self._planar = layout == "NCHW" and len(sample) == 3
        self.out_shape = (sample[2], *sample[:2]) if self._planar else sample
        if len(data.shape) == 3:
            h, w, c = data.shape
            pad = augment.padding
            self._padded = np.full((batch, h + 2 * pad, w + 2 * pad, c), augment.fill, data.dtype)
            self.stored = self._padded[:, pad : pad + h, pad : pad + w]
            if not pad:
                self.stored = self._padded
            channels = c
        else:
            self._padded = self.stored = np.empty((batch, *data.shape), data.dtype)
            channels = 1
        self._normaliser = Normaliser(augment.mean, augment.std, augment.scale, channels, data.dtype)

    def __call__(self, epoch: int, index: Labels, out: Array) -> None:
        """Turn the first len(index) images of `stored` into network inputs.

        index : (B,) int64, which samples they are
        out   : (B, *out_shape) float32
        """
        if len(self._sample) != 3:
            self._normaliser.samples(self.stored[: len(index)], out)
        else:
            self._normaliser.images(self._cropped(epoch, index), out, self._planar)

    def _cropped(self, epoch: int, index: Labels) -> Array:
        padded = self._padded[: len(index)]
        b, h_padded, w_padded, c = padded.shape
        h, w, _ = self._sample
        augment = self._augment
        images = padded
        if (h, w) != (h_padded, w_padded):
            if augment.random:
                top = below(draws(self._seed, epoch, CROP_Y, index), h_padded - h + 1)
                left = below(draws(self._seed, epoch, CROP_X, index), w_padded - w + 1)
            else:
                top, left = np.full(b, (h_padded - h) // 2), np.full(b, (w_padded - w) // 2)
            image, row, pixel, one = padded.strides
            # Every window of every image: (B, H_PADDED - H + 1, W_PADDED - W + 1, H, W * C)
            windows = as_strided(
                padded,
                (b, h_padded - h + 1, w_padded - w + 1, h, w * c),
                (image, row, pixel, row, one),
                writeable=False,
            )
            images = windows[np.arange(b), top, left].reshape(b, h, w, c)
        if augment.flip and augment.random:
            mirrored = (draws(self._seed, epoch, FLIP, index) >> np.uint64(63)).astype(bool)
            images[mirrored] = images[mirrored, :, ::-1]
        return images


@frozen
class Moments:
    """Mean and standard deviation of each channel, in the units after the scale; what `Augment` takes."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def constant(self) -> tuple[int, ...]:
        """Channels that have one value in all images, up to the rounding of float32."""
        return tuple(c for c, (mean, std) in enumerate(zip(self.mean, self.std)) if std <= abs(mean) * FLOAT32_EPS)

    def as_options(self) -> Mapping[str, tuple[float, ...]]:
        """For `Augment(**moments(data).as_options())`. A constant channel gets deviation 1: it becomes 0."""
        return {"mean": self.mean, "std": tuple(1.0 if c in self.constant else std for c, std in enumerate(self.std))}


def moments(data: Dataset, scale: float | None = None, batch: int = 256) -> Moments:
    """Mean and standard deviation (of the population) over a whole set, for each channel; images that cannot be read are left out.

    scale  : as in `Augment`
    raise  : DataError if no sample can be read
    source : Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979
    """
    if scale is None:
        scale = 1 / 255 if data.dtype == np.uint8 else 1.0
    channels = data.shape[-1] if len(data.shape) == 3 else 1
    count, mean, spread = 0, np.zeros(channels), np.zeros(channels)
    stored = np.empty((batch, *data.shape), data.dtype)
    for start in range(0, len(data), batch):
        index = np.arange(start, min(start + batch, len(data)))
        good = data.read(index, stored[: len(index)])
        values: np.ndarray[Any, Any] = stored[: len(index)][good].reshape(-1, channels).astype(np.float64)
        if not len(values):
            continue
        part = values.mean(axis=0)
        delta, total = part - mean, count + len(values)
        spread += ((values - part) ** 2).sum(axis=0) + delta**2 * (count * len(values) / total)
        mean += delta * (len(values) / total)
        count = total
    if not count:
        raise DataError(f"{data.name}: expected samples that can be read, got none of {len(data)}; check the files")
    return Moments(tuple((mean * scale).tolist()), tuple((np.sqrt(spread / count) * scale).tolist()))
