"""Binary PPM and PGM files of 8 bits, with NumPy alone."""

from __future__ import annotations

import numpy as np

from alula.runtime.data.dataset import Array

MAX_HEADER_BYTES = 4096


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
