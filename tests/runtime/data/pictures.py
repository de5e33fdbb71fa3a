"""Image files that are odd, made byte by byte or by OpenCV."""

import struct
import zlib

import numpy as np


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, *, bits=8, colour=0, rows=b"", before=()):
    """A PNG whose header says (width, height), whatever the rows are; `before` are chunks in front of the pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def exif(orientation):
    """A little TIFF that holds one tag."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def png_rows(pixels):
    """Rows of a PNG without filters; pixels (H, W, ...) uint8 or big-endian uint16."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def letters(background=(200, 120, 40), alpha=0):
    """(4, 6, 4) uint8, blue green red alpha: transparent, with two solid black columns at the left."""
    image = np.zeros((4, 6, 4), np.uint8)
    image[:, 2:, :3], image[:, :2, 3], image[:, 2:, 3] = background, 255, alpha
    return image
