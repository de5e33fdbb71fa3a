"""One image file -> pixels, or the reason why not. The only reader of images: for training, for tasks, for single runs.

The format is what the content says, whatever the name. 8-bit PPM and PGM are read with NumPy, all else with OpenCV.
An image is turned as EXIF says, its alpha channel is laid over a ground, 16 bits become the upper 8.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.data.choices import ALPHA
from alula.runtime.data.dataset import Array
from alula.runtime.data.header import HEAD_BYTES, UNREAD, Header, format_of, is_animated, read_header
from alula.runtime.data.opencv import opencv
from alula.runtime.data.pnm import decode_pnm
from alula.runtime.errors import DataError, reason

NATIVE = frozenset({".ppm", ".pgm", ".pnm"})
SUFFIXES = NATIVE | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".pbm", ".heic", ".heif", ".avif"
}  # fmt: skip
# A TIFF inside, but of it only a thumbnail can be read
RAW = frozenset({".dng", ".nef", ".cr2", ".arw", ".orf", ".rw2", ".pef", ".srw", ".raf", ".nrw"})
MAX_PIXELS = 1 << 27  # 134 million: 400 MB in three channels
MAX_BYTES = 1 << 30  # of a file


def is_image_file(path: Path) -> bool:
    """Whether a file is taken for an image: by its suffix, or, where it has none that is known, by its content.

    raise : OSError
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if suffix in RAW:
        return False
    with path.open("rb") as file:
        return bool(format_of(file.read(HEAD_BYTES)))


def is_still(path: Path) -> bool:
    """Whether a file is one image by its content; a GIF of several is a video.

    raise : OSError
    """
    with path.open("rb") as file:
        found = format_of(file.read(HEAD_BYTES))
        if found != "GIF":
            return bool(found)
        file.seek(0)
        return not is_animated(file.read(MAX_BYTES))


def read_image(path: Path, channels: int = 3, alpha: str = "white") -> Array:
    """An image file, (H, W, C) uint8, in OpenCV's order blue, green, red if C is 3.

    channels : 3 or 1
    alpha    : white, black, or drop: what is seen through transparent pixels, or their own colour
    raise    : ValueError, why it cannot be read; MissingExtraError if it needs OpenCV
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("no file but a folder, a pipe or a device")
        if found.st_size > MAX_BYTES:
            raise ValueError(f"a file of {found.st_size} bytes; at most {MAX_BYTES} are read")
        encoded = path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    return decode(encoded, channels, alpha)


def decode(encoded: bytes, channels: int = 3, alpha: str = "white") -> Array:
    """As `read_image`, for the content of a file."""
    if not encoded:
        raise ValueError("an empty file")
    header = read_header(encoded)
    if not header.format:
        raise ValueError("not an image, or a damaged one")
    if header.format in UNREAD.values() or header.format.startswith("JPEG "):
        raise ValueError(f"an image in {header.format}, which is not read; convert it to JPEG or PNG")
    if header.height * header.width > MAX_PIXELS:
        raise ValueError(f"{header.width}x{header.height} pixels; at most {MAX_PIXELS} are read")
    if header.damage or (header.format == "JPEG" and is_cut_off(encoded)):
        raise ValueError(header.damage or "a JPEG that is cut off")
    if encoded[:2] in (b"P5", b"P6") and header.maximum <= 255:
        rgb = with_channels(decode_pnm(encoded), channels)
    elif header.transparent and alpha != "drop":
        bgr = _over(header, _by_opencv(encoded, None), 255 if alpha == "white" else 0)
        rgb = with_channels(bgr[:, :, ::-1], channels)
    else:
        return _by_opencv(encoded, channels)
    return np.ascontiguousarray(rgb[:, :, ::-1])


def check_alpha(alpha: str) -> None:
    """Refuse an alpha that is none of `ALPHA`.

    raise : DataError
    """
    if alpha not in ALPHA:
        raise DataError(f"alpha: expected {', '.join(ALPHA)}, got {alpha!r}; choose one")


def _by_opencv(encoded: bytes, channels: int | None) -> Array:
    """Decode to BGR or grey of 8 bits; channels None: as stored, not turned.

    raise : ValueError
    """
    cv2 = opencv("decoding images")
    flags = {3: cv2.IMREAD_COLOR, 1: cv2.IMREAD_GRAYSCALE, None: cv2.IMREAD_UNCHANGED}[channels]
    try:
        pixels: Array | None = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:  # more pixels, a longer row, or more memory than OpenCV has
        raise ValueError(reason(error.err or error, 120)) from error
    if pixels is None or not pixels.size:
        raise ValueError("damaged, or of a kind that OpenCV does not read")
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _over(header: Header, pixels: Array, ground: int) -> Array:
    """Lay a decoded transparent image over a grey ground and turn it, (H, W, 1 or 3) uint8.

    pixels : (H, W, 1, 3 or 4) uint8 or uint16, as stored
    """
    deep = pixels.dtype == np.uint16
    if pixels.shape[2] == 1 and header.key is not None:
        clear = pixels == header.key
        pixels = np.where(clear, np.uint8(ground), _eight_bits(pixels))
    elif pixels.shape[2] == 4:
        colour, cover = _eight_bits(pixels[:, :, :3]), _eight_bits(pixels[:, :, 3:]).astype(np.uint32)
        # libtiff gives 8-bit colours multiplied with their alpha, where the file says what its fourth channel is
        multiplied = header.format == "TIFF" and not deep and bool((colour <= cover).all())
        own = colour.astype(np.uint32) * (255 if multiplied else cover)
        pixels = np.minimum((own + np.uint32(ground) * (255 - cover) + 127) // 255, 255).astype(np.uint8)
    return turned(_eight_bits(pixels), header.orientation)


def _eight_bits(pixels: Array) -> Array:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype != np.uint16:
        raise ValueError(f"pixels of {pixels.dtype}; 8 and 16 bits are read")
    return (pixels >> 8).astype(np.uint8)


def turned(pixels: Array, orientation: int) -> Array:
    """An image the way up that EXIF says.

    orientation : 1 to 8, of the tag 274
    source      : EXIF 2.32, 4.6.4 A
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def with_channels(pixels: Array, channels: int) -> Array:
    """RGB or grey as RGB or grey, (H, W, channels)."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    # ITU-R BT.601 in 14 bits, as OpenCV converts colours to grey
    grey = (pixels.astype(np.uint32) @ np.array([4899, 9617, 1868], np.uint32) + (1 << 13)) >> 14
    return grey.astype(np.uint8)[:, :, None]


def as_bgr(image: Any) -> Array | None:
    """A camera's frame as (H, W, 3) uint8, blue green red; None if it is no such image.

    image : (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or uint16 (its upper 8 bits). A camera's fourth channel is
            filling, not alpha
    """
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16) or not image.size:
        return None
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        return None
    pixels: Array = image
    if pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        pixels = np.ascontiguousarray(with_channels(_eight_bits(pixels[:, :, :3]), 3))
    return pixels


def is_cut_off(jpeg: bytes) -> bool:
    """Whether a JPEG has no end after its last scan: OpenCV fills the missing part with grey and calls it read."""
    return jpeg.find(b"\xff\xd9", jpeg.rfind(b"\xff\xda")) < 0
