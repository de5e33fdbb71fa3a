"""Whether a video file is as long as its container says, for AVI, MP4 and Matroska: a recording that was cut short is not."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 10_000  # a fragmented MP4 has two for every second
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def is_whole(path: Path) -> bool:
    """False if the file ends before its container does; true also where the container does not say (streams).

    raise : OSError
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12:
            return False
        if head[:4] == b"RIFF":
            return bool(struct.unpack_from("<I", head, 4)[0] + 8 <= size)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
            return _boxes_end(file, size) <= size
        return head[:4] != EBML or _segment_end(file) <= size


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last box of an MP4 ends. source: ISO/IEC 14496-12, 4.2"""
    at = 0
    for _ in range(MAX_BOXES):
        file.seek(at)
        head = file.read(16)
        if at >= size or len(head) < 8:
            break
        length = struct.unpack_from(">I", head)[0]
        if length == 1 and len(head) == 16:
            length = struct.unpack_from(">Q", head, 8)[0]
        if length == 0:  # to the end of the file
            return size
        at += max(length, 8)
    return at


def _segment_end(file: BinaryIO) -> int:
    """Where a Matroska file's segment ends, 0 if it does not say. source: RFC 8794, 4 and 5"""
    file.seek(4)
    header = _length(file)
    file.seek(header or 0, 1)
    if file.read(4) != SEGMENT:
        return 0
    length = _length(file)
    return 0 if length is None else file.tell() + length


def _length(file: BinaryIO) -> int | None:
    first = (file.read(1) or b"\0")[0]
    if not first:
        return None
    extra = 8 - first.bit_length()
    value = int.from_bytes(bytes([first & (0x7F >> extra)]) + file.read(extra), "big")
    return None if value == (1 << 7 * (extra + 1)) - 1 else value  # all ones: unknown
