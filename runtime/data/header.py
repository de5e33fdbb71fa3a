"""What the first bytes of an image file say: its format, its size, whether it is transparent, which way up it is.

Nothing here decodes or allocates: a header may claim any size.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

HEAD_BYTES = 64  # enough for `format_of`
UNREAD = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF"}
WIDTH, HEIGHT, COLOURS, ORIENTATION, SAMPLES, EXTRA_SAMPLES = 256, 257, 262, 274, 277, 338  # TIFF's tags
RGB = 2
MAX_TAGS = 4096


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says of itself.

    format      : as `format_of` calls it
    height      : pixels; 0 if the header does not say
    transparent : it has an alpha channel, or a colour that stands for "nothing"
    key         : PNG: the grey value that is transparent, as decoded
    maximum     : PNM: the value of white
    damage      : PNG: what is wrong with its chunks. OpenCV would make room for whatever length a chunk claims
    orientation : 1 to 8, as EXIF counts
    """

    format: str
    height: int = 0
    width: int = 0
    transparent: bool = False
    key: int | None = None
    orientation: int = 1
    maximum: int = 255
    damage: str = ""


def format_of(head: bytes) -> str:
    """The format that a file's first `HEAD_BYTES` show, "" if it is no image."""
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if (
        head[:2] == b"BM"
        and len(head) >= 18
        and head[14:18] in {struct.pack("<I", n) for n in (12, 40, 52, 56, 64, 108, 124)}
    ):
        return "BMP"
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456" and (head[2:3].isspace() or head[2:3] == b"#"):
        return "PNM"
    if head[4:8] == b"ftyp":
        return UNREAD.get(head[8:12], "")
    if head[:12] == b"\0\0\0\x0cjP  \r\n\x87\n":
        return "JPEG 2000"
    return "JPEG XL" if head[:12] == b"\0\0\0\x0cJXL \r\n\x87\n" else ""


def read_header(encoded: bytes) -> Header:
    """What a whole file says of itself; what its header does not say, or a damaged one, is left at the default."""
    kind = format_of(encoded[:HEAD_BYTES])
    reader = {"PNG": _png, "JPEG": _jpeg, "GIF": _gif, "BMP": _bmp, "WebP": _webp, "TIFF": _tiff, "PNM": _pnm}.get(kind)
    try:
        return reader(encoded) if reader else Header(kind)
    except (struct.error, IndexError, OverflowError):
        return Header(kind)


def _png(data: bytes) -> Header:
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    transparent, key, orientation, damage = colour in (4, 6), None, 1, ""
    view, at, name = memoryview(data), 8, b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at) if at + 12 <= len(data) else (0, b"")
        if not name or at + 12 + length > len(data):
            damage = "a PNG that is cut off"
            break
        content = view[at + 8 : at + 8 + length]
        if name == b"tRNS":
            transparent = True
            if colour == 0 and length >= 2:
                stored = int(struct.unpack(">H", content[:2])[0])
                key = stored * 255 // ((1 << bits) - 1) if 0 < bits < 8 else stored
        elif name == b"eXIf":
            orientation = _orientation(bytes(content))
        elif (
            name[:1].isupper()
            and zlib.crc32(view[at + 4 : at + 8 + length]) != struct.unpack_from(">I", data, at + 8 + length)[0]
        ):
            damage = "a PNG with a wrong checksum"
        at += length + 12
    return Header("PNG", height, width, transparent, key, orientation, damage=damage)


def _jpeg(data: bytes) -> Header:
    at = 2
    while 0 <= (at := data.find(b"\xff", at)) <= len(data) - 9:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Header("JPEG", height, width)
        bare = marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8  # no length follows
        at += 1 if bare else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return Header("JPEG")


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("GIF", height, width, transparent=True)


def is_animated(data: bytes) -> bool:
    """Whether a GIF holds more than one image. source: GIF89a specification, 18 to 27"""

    def table(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    at, images = 13 + table(data[10] if len(data) > 10 else 0), 0
    while at < len(data) and images < 2 and data[at] in b"\x21\x2c":
        if data[at] == 0x21:
            at += 2
        else:
            images += 1
            at += 11 + table(data[at + 9] if at + 9 < len(data) else 0)
        while at < len(data) and data[at]:  # blocks of up to 255 bytes
            at += 1 + data[at]
        at += 1
    return images > 1


def _bmp(data: bytes) -> Header:
    if data[14] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return Header("BMP", abs(height), abs(width))


def _webp(data: bytes) -> Header:
    name = data[12:16]
    if name == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return Header("WebP", height, width, bool(data[20] & 0x10), None, _webp_orientation(data))
    if name == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Header("WebP", 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), bool(bits >> 28 & 1))
    width, height = struct.unpack_from("<HH", data, 26)
    return Header("WebP", height & 0x3FFF, width & 0x3FFF)


def _webp_orientation(data: bytes) -> int:
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            return _orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return 1


def _tiff(data: bytes) -> Header:
    tags = _tags(data)
    # OpenCV turns a TIFF itself, transparent or not
    transparent = EXTRA_SAMPLES in tags or (tags.get(SAMPLES) == 4 and tags.get(COLOURS) == RGB)
    return Header("TIFF", tags.get(HEIGHT, 0), tags.get(WIDTH, 0), transparent)


def _orientation(exif: bytes) -> int:
    turned = _tags(exif).get(ORIENTATION, 1)
    return turned if 1 <= turned <= 8 else 1


def _tags(data: bytes) -> dict[int, int]:
    """Tag -> its first whole number, of the first directory of a TIFF file, or of the one inside EXIF.

    source : TIFF 6.0; BigTIFF (libtiff.gitlab.io/libtiff/specification/bigtiff.html)
    """
    tags: dict[int, int] = {}
    with contextlib.suppress(struct.error, OverflowError):  # a damaged directory: what was found so far
        for tag, value in _entries(data):
            tags.setdefault(tag, value)
    return tags


def _entries(data: bytes) -> Iterator[tuple[int, int]]:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    first, entry, value = (start + 8, 20, 12) if big else (start + 2, 12, 8)
    for at in range(first, min(first + entry * min(count, MAX_TAGS), len(data)), entry):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        letter = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if letter:
            yield tag, struct.unpack_from(order + letter, data, at + value)[0]


def _pnm(data: bytes) -> Header:
    words = b" ".join(line.split(b"#")[0] for line in data[:4096].split(b"\n")).split()
    numbers = [int(word) if word.isdigit() and len(word) < 10 else 0 for word in words[1:4]]
    width, height, maximum = numbers + [0] * (3 - len(numbers))
    return Header("PNM", height, width, maximum=maximum)
