"""One image file -> pixels, or the reason why not. PPM and PGM with NumPy, other formats with OpenCV."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alula.runtime.data.dataset import Array
from alula.runtime.errors import require

NATIVE = frozenset({".ppm", ".pgm", ".pnm"})
SUFFIXES = NATIVE | {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
MAX_HEADER_BYTES = 4096


class Decoder:
    """Reads image files.

    size     : (H, W) to scale to, by area; None: as it is
    channels : 3 (RGB) or 1 (grey)
    """

    def __init__(self, size: tuple[int, int] | None, channels: int) -> None:
        self._size, self._channels = size, channels

    def __call__(self, path: Path) -> Array | str:
        """The image (H, W, C) uint8, or why it cannot be read."""
        try:
            encoded = path.read_bytes()
        except OSError as error:
            return error.strerror or str(error)
        if not encoded:
            return "an empty file"
        try:
            pixels = decode_pnm(encoded) if path.suffix.lower() in NATIVE else self._by_opencv(encoded)
        except ValueError as error:
            return str(error)
        pixels = self._with_channels(pixels)
        if self._size is None or pixels.shape[:2] == self._size:
            return pixels
        cv2 = require("cv2", "vision", "scaling images")
        smaller = pixels.shape[0] >= self._size[0] and pixels.shape[1] >= self._size[1]
        scaled: Array = cv2.resize(
            pixels, self._size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        )
        return scaled.reshape(*self._size, self._channels)

    def _by_opencv(self, encoded: bytes) -> Array:
        cv2 = require("cv2", "vision", "decoding images")
        _check_whole(encoded)
        flags = cv2.IMREAD_COLOR if self._channels == 3 else cv2.IMREAD_GRAYSCALE
        try:
            pixels: Array | None = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
        except cv2.error as error:  # more pixels than OpenCV decodes
            raise ValueError(str(error).strip().splitlines()[-1]) from error
        if pixels is None:
            raise ValueError("not an image, or a damaged one")
        return pixels[:, :, None] if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, ::-1])

    def _with_channels(self, pixels: Array) -> Array:
        if pixels.shape[2] == self._channels:
            return pixels
        if self._channels == 3:
            return np.repeat(pixels, 3, axis=2)
        # ITU-R BT.601 in 14 bits, as OpenCV converts colours to grey
        grey = (pixels.astype(np.uint32) @ np.array([4899, 9617, 1868], np.uint32) + (1 << 13)) >> 14
        return grey.astype(np.uint8)[:, :, None]


def decode_pnm(encoded: bytes) -> Array:
    """A binary PPM (P6) or PGM (P5) image of 8 bits, (H, W, 3) or (H, W, 1) uint8.

    raise  : ValueError, why not
    source : https://netpbm.sourceforge.net/doc/ppm.html
    """
    if encoded[:2] not in (b"P5", b"P6"):
        raise ValueError(f"no binary PPM or PGM: it begins with {encoded[:2]!r}")
    numbers: list[int] = []
    at = 2
    while len(numbers) < 3:
        while encoded[at : at + 1].isspace() or encoded[at : at + 1] == b"#":
            end = encoded.find(b"\n", at) if encoded[at : at + 1] == b"#" else at
            at = end + 1 if end >= 0 else MAX_HEADER_BYTES
        start = at
        while encoded[at : at + 1].isdigit():
            at += 1
        if at == start or at >= MAX_HEADER_BYTES or at - start > 9:
            raise ValueError("a damaged header")
        numbers.append(int(encoded[start:at]))
    at += 1  # one white space ends the header
    w, h, top = numbers
    if top > 255 or top < 1 or not w or not h:
        raise ValueError(f"expected 8 bits and a size above 0, got a maximum of {top} and {w}x{h}")
    shape = (h, w, 3 if encoded[:2] == b"P6" else 1)
    size = h * w * shape[2]
    if len(encoded) - at < size:
        raise ValueError(f"cut off: {len(encoded) - at} of {size} bytes")
    pixels = np.frombuffer(encoded, np.uint8, size, at).reshape(shape)
    if top == 255:
        return pixels
    return (np.minimum(pixels, top).astype(np.uint32) * 255 // top).astype(np.uint8)


def _check_whole(encoded: bytes) -> None:
    """OpenCV fills the missing part of a JPEG with grey and calls it read: look for the end marker of the last scan."""
    if encoded[:2] == b"\xff\xd8" and encoded.find(b"\xff\xd9", encoded.rfind(b"\xff\xda")) < 0:
        raise ValueError("a JPEG that is cut off")
    if encoded[:4] == b"\x89PNG" and encoded.find(b"IEND", max(0, len(encoded) - 4096)) < 0:
        raise ValueError("a PNG that is cut off")
