"""Image files: PPM and PGM by our own reader, the rest by OpenCV; whatever is damaged is named."""

import importlib.util

import numpy as np
import pytest

from alula.runtime.data import open_data
from alula.runtime.data.decoder import Decoder
from alula.runtime.data.image import as_bgr, decode, is_image_file, is_still, read_image, turned
from alula.runtime.data.pnm import decode_pnm
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import DataError
from tests.runtime.data.formats import random_images, write_class_folders, write_ppm
from tests.runtime.data.pictures import exif, letters, png, png_rows

needs_opencv = pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed")


@pytest.mark.parametrize("c", [1, 3])
def test_a_pnm_image_comes_back_as_written(tmp_path, c):
    image = random_images(1, 3, 7, c)[0][0]
    write_ppm(tmp_path / "x.ppm", image)
    np.testing.assert_array_equal(decode_pnm((tmp_path / "x.ppm").read_bytes()), image)


@pytest.mark.parametrize(
    "content",
    [b"P3 1 1 255\n0 0 0", b"P6", b"P6 #", b"P6 1 1", b"P6 0 1 255\n", b"P6 1 1 65535\n123456", b"P6 2 2 255\n123",
     b"P6 99999999999 1 255\n", b"P6 -1 1 255\n123", b"P6" + b" " * 9999],
)  # fmt: skip
def test_a_damaged_pnm_image_is_refused(content):
    with pytest.raises(ValueError):
        decode_pnm(content)


def test_a_smaller_maximum_is_stretched_to_255():
    assert decode_pnm(b"P5 3 1 15\n" + bytes((0, 15, 5))).ravel().tolist() == [0, 255, 85]


@needs_opencv
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_files_are_read_in_rgb_or_grey(tmp_path, suffix, channels):
    import cv2

    image = random_images(1, 5, 4, 3)[0][0]
    path = tmp_path / f"x{suffix}"
    cv2.imwrite(str(path), image[:, :, ::-1])
    colour = "rgb" if channels == 3 else "grey"
    expected = image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    # libpng has its own rounding of grey
    np.testing.assert_allclose(Decoder(Preprocessing(colour))(path), expected, rtol=0, atol=0 if channels == 3 else 1)
    assert Decoder(Preprocessing(colour, (10, 3)))(path).shape == (10, 3, channels)


@needs_opencv
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_that_was_cut_off_anywhere_is_not_read(tmp_path, suffix):
    import cv2

    path = tmp_path / f"x{suffix}"
    cv2.imwrite(str(path), random_images(1, 24, 24)[0][0])
    whole = path.read_bytes()
    assert not isinstance(Decoder(Preprocessing())(path), str)
    for size in (0, 1, 20, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:size])
        assert isinstance(Decoder(Preprocessing())(path), str)


def test_an_image_of_another_size_is_an_error_that_names_the_option(tmp_path):
    x, y = random_images(6)
    write_class_folders(tmp_path, x, y)
    write_ppm(tmp_path / "bee" / "9.ppm", x[0][:4])
    data = open_data(tmp_path)
    with pytest.raises(DataError, match=r"9\.ppm: expected 6x5 as the first image, got 4x5; give --size H,W"):
        data.read(np.arange(len(data)), np.empty((len(data), *data.shape), np.uint8))


@pytest.mark.parametrize("keep_bytes", [0, 1 << 20])
def test_kept_images_are_those_that_would_be_read_again(tmp_path, keep_bytes):
    x, y = random_images(6)
    write_class_folders(tmp_path, x, y)
    data = open_data(tmp_path, keep_bytes=keep_bytes)
    out = np.empty((2, 6, *data.shape), np.uint8)
    for turn in out:
        assert data.read(np.arange(6), turn).all()
    np.testing.assert_array_equal(out[0], out[1])


@needs_opencv
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_show_the_ground(suffix, channels):
    import cv2

    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    encoded = cv2.imencode(suffix, letters(), lossless)[1].tobytes()
    for alpha, ground in (("white", 255), ("black", 0)):
        image = decode(encoded, channels, alpha)
        assert image.shape == (4, 6, channels) and image.flags.c_contiguous
        assert (image[:, :2] == 0).all() and (image[:, 2:] == ground).all()
    half = decode(cv2.imencode(suffix, letters(alpha=128), lossless)[1].tobytes(), 3)
    assert np.abs(half[0, 3].astype(int) - (227, 187, 147)).max() <= 1


@needs_opencv
def test_alpha_can_be_dropped():
    import cv2

    assert decode(cv2.imencode(".png", letters())[1].tobytes(), 3, "drop")[0, 5].tolist() == [200, 120, 40]
    with pytest.raises(DataError, match="white, black, drop"):
        Decoder(Preprocessing(), "blue")


@needs_opencv
@pytest.mark.parametrize("bits", [2, 8])
def test_a_colour_that_stands_for_nothing_is_transparent(bits):
    rows = png_rows(np.array([[0b00110000]] if bits == 2 else [[0, 3, 0, 0]], np.uint8))
    grey = png(4, 1, bits=bits, rows=rows, before=[(b"tRNS", b"\0\0")])
    assert decode(grey, 1).ravel().tolist() == [255, 255 if bits == 2 else 3, 255, 255]
    palette = [(b"PLTE", bytes((9, 9, 9, 0, 0, 0))), (b"tRNS", b"\0")]
    indexed = png(2, 1, colour=3, rows=b"\0\0\1", before=palette)
    assert decode(indexed, 3).tolist() == [[[255] * 3, [0] * 3]]


@needs_opencv
def test_sixteen_bits_become_the_upper_eight():
    import cv2

    deep = np.array([[[0x1234, 0x5678, 0x9ABC, 0xFFFF], [1, 2, 3, 0]]], np.uint16)
    assert decode(cv2.imencode(".png", deep)[1].tobytes()).tolist() == [[[0x12, 0x56, 0x9A], [255] * 3]]
    assert decode(cv2.imencode(".png", deep[:, :, :3])[1].tobytes())[0, 0].tolist() == [0x12, 0x56, 0x9A]
    assert decode(b"P5 1 1 65535\n\x80\x01", 1).tolist() == [[[0x80]]]


@needs_opencv
@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_the_way_up_that_exif_says(alpha, orientation):
    """OpenCV turns what has no alpha, we turn the rest: the same way."""
    pixels = np.arange(0, 240, 40, dtype=np.uint8).reshape(2, 3)
    stored = np.stack([pixels, np.full_like(pixels, 255)], axis=2) if alpha else pixels
    encoded = png(3, 2, colour=4 if alpha else 0, rows=png_rows(stored), before=[(b"eXIf", exif(orientation))])
    np.testing.assert_array_equal(decode(encoded, 1)[:, :, 0], turned(pixels[:, :, None], orientation)[:, :, 0])
    assert decode(encoded, 1).shape[:2] == ((3, 2) if orientation >= 5 else (2, 3))


@needs_opencv
def test_the_inks_of_a_printer_become_colours(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((8, 8, 3), (200, 100, 50), np.uint8)).convert("CMYK").save(tmp_path / "x.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "x.jpg")[4, 4].astype(int) - (50, 100, 200)).max() <= 3


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        (png(100_000, 100_000, rows=bytes(99)), "100000x100000 pixels; at most"),
        (b"P5 99999 99999 255\n", "99999x99999 pixels; at most"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "HEIC, which is not read; convert"),
        (b"what is this", "not an image"),
        (png(8, 8, rows=b"\7\7"), "."),
        (b"\xff\xd8\xff\xd9", "."),
    ],
)
def test_a_hostile_image_is_refused_for_a_reason(encoded, why):
    with pytest.raises(ValueError, match=why):
        decode(encoded)


@needs_opencv
def test_the_content_says_what_a_file_is(tmp_path):
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(np.full((8, 8, 3), 90, np.uint8))
    for name, kind in (("a.jpe", "JPEG"), ("a.jfif", "JPEG"), ("bare", "PNG"), ("wrong.png", "WEBP"), ("a.gif", "GIF")):
        picture.save(tmp_path / name, kind)
        assert is_image_file(tmp_path / name) and is_still(tmp_path / name)
        assert np.abs(read_image(tmp_path / name)[4, 4].astype(int) - 90).max() <= 2
    picture.save(tmp_path / "many.gif", save_all=True, append_images=[picture.point(lambda value: 255 - value)])
    assert not is_still(tmp_path / "many.gif")
    picture.save(tmp_path / "x.dng", "TIFF")  # inside a camera's raw file lies a thumbnail
    (tmp_path / "notes.txt").write_text("to do")
    assert not is_image_file(tmp_path / "x.dng") and not is_image_file(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 5), "u1"), ((4, 5, 1), "u1"), ((4, 5, 3), "u1"), ((4, 5, 4), "u1"), ((4, 5), "u2")]
)
def test_a_frame_of_any_camera_gets_three_channels(shape, dtype):
    frame = np.full(shape, 70 if dtype == "u1" else 70 << 8, dtype)
    if shape[-1] == 4:
        frame[:, :, 3] = 0  # filling, not alpha
    image = as_bgr(frame)
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8 and (image == 70).all()


def test_what_is_no_frame_is_none():
    for frame in (
        None,
        np.zeros((0, 5, 3), "u1"),
        np.zeros((4, 5, 2), "u1"),
        np.zeros((4, 5, 3), "f4"),
        np.zeros(5, "u1"),
    ):
        assert as_bgr(frame) is None
