"""Preprocessing: how an image reaches its size, and the same bits as a loader gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alula.runtime.data import Augment, Loader, Preprocessing, open_data
from alula.runtime.data.decoder import open_image
from alula.runtime.errors import DataError, ShapeError
from alula.runtime.graph import TensorSpec
from tests.runtime.data.formats import random_images

cv2 = pytest.importorskip("cv2")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour, resize", [("rgb", "stretch"), ("bgr", "letterbox"), ("grey", "crop")])
def test_a_file_gives_the_bits_that_a_loader_gives(tmp_path: Path, layout: str, colour: str, resize: str) -> None:
    for number, image in enumerate(random_images(4, 23, 31)[0]):
        path = tmp_path / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image)
    c = 1 if colour == "grey" else 3
    mean, std = (0.1, 0.2, 0.3)[:c], (0.7, 0.8, 0.9)[:c]
    how = Preprocessing(colour, (12, 10), resize, 0.9, mean=mean, std=std, layout=layout)
    data = open_data(tmp_path, images=how)
    (batch,) = Loader(data, 4, shuffle=False, augment=Augment(mean=mean, std=std), layout=layout)
    for x, path in zip(batch.x, sorted(tmp_path.glob("*/*"), key=lambda path: (path.parent, path.name)), strict=True):
        np.testing.assert_array_equal(how(open_image(path, c))[0], x)


def test_a_letterbox_has_a_border_and_a_crop_the_centre() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, 5:15] = 200
    boxed = Preprocessing(size=(8, 8), resize="letterbox").fit(image)
    assert (boxed[:2] == 114).all() and (boxed[6:] == 114).all() and (boxed[2:6, 3:5] == 200).all()
    assert (Preprocessing(size=(8, 8), resize="crop").fit(image) == 200).all()
    assert (Preprocessing(size=(8, 8)).fit(image)[:, 0] == 0).all()


def test_it_takes_layout_dtype_colours_and_size_from_the_input() -> None:
    grey = Preprocessing().for_input(TensorSpec(("n", 28, 20, 1), "float16"), "net")
    assert (grey.colour, grey.layout, grey.dtype, grey.size) == ("grey", "NHWC", "float16", (28, 20))
    free = Preprocessing(size=(8, 9)).for_input(TensorSpec((1, 3, "h", "w")), "net")
    assert free.size == (8, 9) and Preprocessing().for_input(TensorSpec((1, 3, "h", "w")), "net").size is None
    wrong = (
        (Preprocessing(colour="bgr"), TensorSpec((1, 1, 8, 8)), DataError, "leave the order of the colours out"),
        (Preprocessing(size=(8, 9)), TensorSpec((1, 3, 8, 8)), DataError, "leave the size out"),
        (Preprocessing(), TensorSpec((1, 8, 8)), ShapeError, "input of one image"),
        (Preprocessing(), TensorSpec((1, 7, 8, 8)), ShapeError, "1 or 3 channels"),
        (Preprocessing(), TensorSpec((1, 3, 6, 3)), ShapeError, "--layout NCHW or NHWC"),
    )
    for how, spec, error, said in wrong:
        with pytest.raises(error, match=f"^net: expected .*{said}"):
            how.for_input(spec, "net")


@pytest.mark.parametrize(
    "options",
    [{"colour": "cmyk"}, {"resize": "fill"}, {"interpolation": "best"}, {"layout": "HW"}, {"dtype": "int8"}, {"size": (0, 3)},
     {"crop": 0.0}, {"crop": 2.0}, {"std": (0.0,)}, {"std": (-1.0,)}, {"std": (1e-300,)}, {"mean": (float("nan"),)}, {"scale": 0.0},
     {"scale": float("inf")}, {"mean": (1.0, 2.0)}, {"colour": "grey", "std": (1.0, 1.0, 1.0)}, {"dtype": "uint8"}],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"^preprocessing: expected"):
        Preprocessing(**options)  # type: ignore[arg-type]


def test_bytes_go_as_they_are_to_an_input_of_bytes() -> None:
    image = random_images(1, 4, 5)[0][0]
    how = Preprocessing(scale=1.0, layout="NHWC", dtype="uint8")
    np.testing.assert_array_equal(how(image)[0], image[:, :, ::-1])
