"""From an image to a network's input: `Preprocessing`, the one way for training, evaluation and running.

Two stages: `fit` brings an image to its colours and size, in uint8; `normalise` makes numbers of it. A data set keeps what
`fit` gives and augments it; everything else goes straight on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.runtime.data.choices import COLOURS, DTYPES, INTERPOLATIONS, LAYOUTS, RESIZES
from alula.runtime.data.dataset import Array
from alula.runtime.data.image import with_channels
from alula.runtime.data.layout import CHANNELS, image_axes, image_layout
from alula.runtime.data.normalise import Normaliser
from alula.runtime.data.opencv import opencv
from alula.runtime.data.placement import Placement, place
from alula.runtime.errors import DataError, ShapeError
from alula.runtime.frozen import frozen

if TYPE_CHECKING:
    from alula.runtime.graph import TensorSpec

MAX_SIDE = 1 << 14
MAX_FACTOR = 1e30  # of a byte, and of what is added
BORDER = 114  # of a letterbox: the grey of the YOLO family


@frozen
class Preprocessing:
    """What a network expects of an image.

    colour        : rgb, bgr or grey: the order of the channels
    size          : (H, W); None: as large as the image is
    resize        : stretch to the size; letterbox: keep the proportions, with a border of grey 114; corner: the same
                    with the image in the upper left corner; crop: keep the proportions and cut out the centre
    crop          : of the resize `crop`: the part of the image's short side that is seen, 0 to 1
    interpolation : area (if both sides shrink, else linear), linear, cubic or nearest: OpenCV's
    scale, mean, std : (x * scale - mean) / std of each byte x; one for all channels or one for each; () is 0 and 1
    layout        : NCHW or NHWC
    dtype         : float32, float16, or uint8, which gets the bytes as they are
    raise         : DataError if it does not fit together
    """

    colour: str = "rgb"
    size: tuple[int, int] | None = None
    resize: str = "stretch"
    crop: float = 1.0
    interpolation: str = "area"
    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = "NCHW"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        words = (
            ("colour", COLOURS), ("resize", RESIZES), ("interpolation", INTERPOLATIONS), ("layout", LAYOUTS), ("dtype", DTYPES)
        )  # fmt: skip
        for name, known in words:
            if getattr(self, name) not in known:
                raise DataError(
                    f"preprocessing: expected {name} {', '.join(known)}, got {getattr(self, name)!r}; choose one"
                )
        if self.size is not None and not all(1 <= side <= MAX_SIDE for side in self.size):
            raise DataError(
                f"preprocessing: expected a size from 1x1 to {MAX_SIDE}x{MAX_SIDE}, got {self.size}; correct it"
            )
        if not 0 < self.crop <= 1:
            raise DataError(f"preprocessing: expected a crop above 0, up to 1, got {self.crop}; 0.875 is common")
        least, finite = min(self.std, default=1.0), all(map(math.isfinite, (self.scale, *self.mean, *self.std)))
        most = max(map(abs, (self.scale, *self.mean)))
        if not finite or self.scale == 0 or not most / MAX_FACTOR <= least:
            raise DataError(
                f"preprocessing: expected a finite mean, a scale other than 0 and std above 0, got mean {self.mean}, "
                f"std {self.std}, scale {self.scale}; correct them"
            )
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (0, 1, self.channels):
                raise DataError(
                    f"preprocessing: expected {name} of {self.channels} channels ({self.colour}), got "
                    f"{len(getattr(self, name))}; give one for each, or one for all"
                )
        if self.dtype == "uint8" and (self.scale != 1 or any(self.mean) or any(value != 1 for value in self.std)):
            raise DataError(
                "preprocessing: expected scale 1, mean 0 and std 1 for an input of uint8, which takes the bytes as they "
                f"are, got scale {self.scale}, mean {self.mean}, std {self.std}; take --preset raw"
            )

    @property
    def channels(self) -> int:
        """1 for grey, else 3."""
        return 1 if self.colour == "grey" else 3

    def fit(self, image: Array) -> Array:
        """An image in the network's colours and size.

        image  : (H, W, C) uint8, 3 channels blue green red, or 1
        return : (H, W, C) uint8
        raise  : MissingExtraError if it must be resized and OpenCV is absent
        """
        if image.shape[2] != self.channels:
            image = with_channels(image[:, :, ::-1], self.channels)[:, :, ::-1]
        if self.size is not None and image.shape[:2] != self.size:
            image = self._resized(np.ascontiguousarray(image), *self.size)
        # The channels change places last, where the image is small
        return _reversed(image) if self.colour == "rgb" else np.ascontiguousarray(image)

    def placement(self, height: int, width: int) -> Placement:
        """Where an image of this size lies in the network's input."""
        size = self.size or (height, width)
        # An image that has the size is taken as it is, whatever the resize
        resize = "stretch" if size == (height, width) else self.resize
        return place((height, width), size, resize, self.crop)

    def _resized(self, image: Array, h: int, w: int) -> Array:
        """An image in the size (h, w)."""
        where = self.placement(*image.shape[:2])
        (top, left, rows, columns), (to_top, to_left, to_rows, to_columns) = where.source, where.target
        # Cut first, then scale: only what is seen is resized
        inner = self._scaled(image[top : top + rows, left : left + columns], to_rows, to_columns)
        if inner.shape[:2] == (h, w):
            return inner
        canvas = np.full((h, w, self.channels), BORDER, np.uint8)
        canvas[to_top : to_top + to_rows, to_left : to_left + to_columns] = inner
        return canvas

    def normalise(self, pixels: Array) -> Array:
        """The network's input of one image.

        pixels : (H, W, C) uint8, as `fit` gives it
        return : (1, C, H, W) or (1, H, W, C) by the layout, in the dtype
        """
        planar = self.layout == "NCHW"
        h, w, c = pixels.shape
        if self.dtype == "uint8":
            return np.ascontiguousarray(pixels.transpose(2, 0, 1) if planar else pixels)[None]
        out = np.empty((1, c, h, w) if planar else (1, h, w, c), np.float32)
        Normaliser(self.mean, self.std, self.scale, c, pixels.dtype).images(pixels[None], out, planar)
        return out if self.dtype == "float32" else out.astype(self.dtype)

    def __call__(self, image: Array) -> Array:
        """Both stages."""
        return self.normalise(self.fit(image))

    def for_input(self, spec: TensorSpec, where: str, layout: str | None = None) -> Preprocessing:
        """The same for an input of a network: with its layout, dtype and size, and grey if it has one channel.

        layout : if the shape does not tell
        raise  : ShapeError or DataError if the two do not fit
        """
        shape = spec.shape
        if len(shape) != 4 or shape[0] not in (1,) and not isinstance(shape[0], str) or spec.dtype not in DTYPES:
            raise ShapeError(
                f"{where}: expected an input of one image, (1, 3, H, W) or (1, H, W, 3), got {spec}; give arrays in a .npz"
            )
        known = image_layout(shape, where, layout)
        height, width, channels = (shape[axis] for axis in image_axes(known))
        if channels not in CHANNELS:
            raise ShapeError(
                f"{where}: expected an input of 1 or 3 channels, got {spec} ({known}); give arrays in a .npz, or --layout"
            )
        colour = "grey" if channels == 1 and self.colour == "rgb" else self.colour
        made = replace(self, colour=colour, layout=known, dtype=spec.dtype)
        if made.channels != channels:
            raise DataError(
                f"{where}: expected the colours of {channels} channels, got {colour} for the input {spec}; "
                + ("leave the order of the colours out" if channels == 1 else "take rgb or bgr")
            )
        own = tuple(side if isinstance(side, int) else None for side in (height, width))
        size = made.size or ((height, width) if isinstance(height, int) and isinstance(width, int) else None)
        if size is not None and any(side not in (None, wanted) for side, wanted in zip(own, size)):
            raise DataError(
                f"{where}: expected the size of its input {spec}, got {size[0]}x{size[1]}; leave the size out"
            )
        return replace(made, size=size)

    def __str__(self) -> str:
        """In one line, for people."""
        size = "any size" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        how = f", {self.resize}" + (f" {self.crop:g}" if self.resize == "crop" else "") if self.size else ""
        figures = [f"scale {self.scale:.6g}"]
        figures += [f"{name} {_short(values)}" for name, values in (("mean", self.mean), ("std", self.std)) if values]
        return f"{self.colour}, {size}{how}, {', '.join(figures)}, {self.layout}, {self.dtype}"

    def _scaled(self, image: Array, height: int, width: int) -> Array:
        if image.shape[:2] == (height, width):
            return image
        cv2 = opencv("scaling images")
        smaller = image.shape[0] >= height and image.shape[1] >= width
        words: dict[str, Any] = {
            "area": cv2.INTER_AREA if smaller else cv2.INTER_LINEAR, "linear": cv2.INTER_LINEAR,
            "cubic": cv2.INTER_CUBIC, "nearest": cv2.INTER_NEAREST,
        }  # fmt: skip
        scaled: Array = cv2.resize(image, (width, height), interpolation=words[self.interpolation])
        return scaled.reshape(height, width, self.channels)


def _reversed(image: Array) -> Array:
    """The channels the other way round; by channel, which is four times as fast as NumPy's copy of a reversed view."""
    out = np.empty_like(image, order="C")
    for channel in range(image.shape[2]):
        out[:, :, channel] = image[:, :, -1 - channel]
    return out


def _short(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
