"""Image files: PPM and PGM by our own reader, the rest by OpenCV; whatever is damaged is named."""

import importlib.util

import numpy as np
import pytest

from alula.runtime.data import open_data
from alula.runtime.data.image import Decoder, decode_pnm
from alula.runtime.errors import DataError
from tests.runtime.data.formats import random_images, write_class_folders, write_ppm

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
    expected = image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    # libpng has its own rounding of grey
    np.testing.assert_allclose(Decoder(None, channels)(path), expected, rtol=0, atol=0 if channels == 3 else 1)
    assert Decoder((10, 3), channels)(path).shape == (10, 3, channels)


@needs_opencv
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_that_was_cut_off_anywhere_is_not_read(tmp_path, suffix):
    import cv2

    path = tmp_path / f"x{suffix}"
    cv2.imwrite(str(path), random_images(1, 24, 24)[0][0])
    whole = path.read_bytes()
    assert not isinstance(Decoder(None, 3)(path), str)
    for size in (0, 1, 20, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:size])
        assert isinstance(Decoder(None, 3)(path), str)


def test_an_image_of_another_size_is_an_error_that_names_the_option(tmp_path):
    x, y = random_images(6)
    write_class_folders(tmp_path, x, y)
    write_ppm(tmp_path / "bee" / "9.ppm", x[0][:4])
    data = open_data(tmp_path)
    with pytest.raises(DataError, match=r"9\.ppm: expected 6x5 as the first image, got 4x5; give size"):
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
