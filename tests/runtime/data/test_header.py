"""What the first bytes of a picture say, and that no claim makes anything big."""

import struct

import numpy as np
import pytest

from alula.runtime.data.header import Header, format_of, read_header
from tests.runtime.data.pictures import exif, png

cv2 = pytest.importorskip("cv2")
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".webp": "WebP", ".tiff": "TIFF", ".ppm": "PNM"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_size_and_format_are_those_of_the_image(suffix):
    encoded = cv2.imencode(suffix, np.zeros((13, 21, 3), np.uint8))[1].tobytes()
    header = read_header(encoded)
    assert (header.format, header.height, header.width) == (FORMATS[suffix], 13, 21)
    assert not header.transparent
    for end in range(len(encoded)):  # a header that ends early is no error
        read_header(encoded[:end])


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_an_alpha_channel_is_seen(suffix):
    image = np.random.default_rng(0).integers(0, 256, (13, 21, 4), np.uint8)
    assert read_header(cv2.imencode(suffix, image)[1].tobytes()).transparent


def test_a_gif_a_bitmap_of_old_and_a_webp_that_is_exact_say_their_size():
    assert read_header(b"GIF89a" + struct.pack("<HH", 300, 7)) == Header("GIF", 7, 300, True)
    assert read_header(b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 5, 6, 1, 24)) == Header("BMP", 6, 5)
    lossless = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0/" + struct.pack("<I", 15 | 8 << 14 | 1 << 28)
    assert read_header(lossless) == Header("WebP", 9, 16, True)


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_orientation_is_found_in_a_png_and_a_webp(orientation):
    assert read_header(png(3, 2, before=[(b"eXIf", exif(orientation))])).orientation == orientation
    block = exif(orientation)
    webp = (
        b"RIFF\0\0\0\0WEBPVP8X"
        + struct.pack("<IB3x", 10, 0x10)
        + bytes(6)
        + b"EXIF"
        + struct.pack("<I", len(block))
        + block
    )
    assert read_header(webp).orientation == orientation


def test_what_is_no_picture_has_no_format():
    for head in (b"", b"BM", b"BMW is a car, not a bitmap", b"P5", b"P9 1 1", b"RIFF\0\0\0\0AVI ", b"%PDF-1.4", b"II*"):
        assert format_of(head) == ""
    assert format_of(b"\0\0\0\x18ftypheic") == "HEIC"


def test_a_chunk_that_claims_too_much_is_damage_and_a_broken_side_chunk_hides_nothing():
    whole = png(3, 2, rows=bytes(8))
    assert read_header(whole).damage == ""
    at = whole.index(b"IDAT") - 4
    assert "cut off" in read_header(whole[:at] + b"\x7f\xff\xff\xff" + whole[at + 4 :]).damage
    assert "checksum" in read_header(whole.replace(b"IDATx", b"IDATy")).damage
    broken = read_header(png(100_000, 100_000, before=[(b"eXIf", exif(6)[:13])]))
    assert (broken.width, broken.orientation, broken.damage) == (100_000, 1, "")


def test_the_size_of_a_jpeg_is_found_behind_filling_and_garbage():
    frame = b"\xff\xc0" + struct.pack(">HBHH", 17, 8, 7, 9) + bytes(9)
    assert read_header(b"\xff\xd8\xff\xff\x00rubbish" + frame) == Header("JPEG", 7, 9)
