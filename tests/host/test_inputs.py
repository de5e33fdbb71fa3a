"""Inputs: shapes as text, random values, arrays and images from files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from alula.host.inputs import load_inputs, parse_shapes, random_inputs, resolve_shapes
from alula.runtime.data import Preprocessing
from alula.runtime.errors import DataError, DTypeError, ShapeError, SourceError
from alula.runtime.graph import TensorSpec

IMAGE = {"x": TensorSpec(("batch", 3, "height", "width"))}


def test_shapes_are_read_with_and_without_a_name() -> None:
    assert parse_shapes(["x=1,3,48,320", "4x8"]) == {"x": (1, 3, 48, 320), "": (4, 8)}


@pytest.mark.parametrize("text", ["x=1,a", "x=1,-3", "x=0", "1.5,2"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ShapeError, match="--shape"):
        parse_shapes([text])


def test_a_shape_without_sizes_is_a_scalar() -> None:
    assert parse_shapes(["x="]) == {"x": ()}


def test_a_free_batch_is_one_and_another_free_dimension_must_be_given() -> None:
    assert resolve_shapes({"x": TensorSpec(("n", 4))}, {}, "net") == {"x": (1, 4)}
    assert resolve_shapes(IMAGE, {"": (2, 3, 8, 8)}, "net") == {"x": (2, 3, 8, 8)}
    with pytest.raises(ShapeError, match="height"):
        resolve_shapes(IMAGE, {}, "net")


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 8), ()])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="of that shape"):
        resolve_shapes(IMAGE, {"x": shape}, "net")


def test_random_values_depend_on_the_seed_alone() -> None:
    specs = {"x": TensorSpec((2, 3)), "i": TensorSpec((4,), "int64"), "b": TensorSpec((4,), "bool")}
    shapes = resolve_shapes(specs, {}, "net")
    first, again, other = (random_inputs(specs, shapes, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) and first[name].dtype == specs[name].dtype for name in specs)
    assert not np.array_equal(first["x"], other["x"])
    assert set(first["i"].tolist()) <= {0, 1}


def test_arrays_come_from_npy_and_npz(tmp_path: Path) -> None:
    x = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x, more=x)
    for name in ("x.npy", "x.npz"):
        loaded = load_inputs(tmp_path / name, IMAGE)
        assert list(loaded) == ["x"] and np.array_equal(loaded["x"], x)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "y.npz", y=np.zeros((1, 3, 4, 4), np.float32))
    np.save(tmp_path / "double.npy", np.zeros((1, 3, 4, 4)))
    np.save(tmp_path / "grey.npy", np.zeros((1, 1, 4, 4), np.float32))
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "object.npz", x=np.array([{}], object))
    np.savez(tmp_path / "text.npz", x=np.array(["1.0"]))
    (tmp_path / "words.npy").write_text("1.0, 2.0")
    with zipfile.ZipFile(tmp_path / "words.npz", "w") as archive:
        archive.writestr("x", "1.0, 2.0")
    for name, error in (
        ("y.npz", ShapeError),
        ("double.npy", DTypeError),
        ("grey.npy", ShapeError),
        ("object.npy", SourceError),
        ("object.npz", SourceError),
        ("words.npy", SourceError),
        ("text.npz", DTypeError),
        ("words.npz", DTypeError),
    ):
        with pytest.raises(error, match=name) as caught:
            load_inputs(tmp_path / name, IMAGE)
        assert "pickle" not in str(caught.value)


def test_only_the_arrays_of_inputs_are_read_in_either_order_of_bytes(tmp_path: Path) -> None:
    x = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
    np.save(tmp_path / "big.npy", x.astype(">f4"))
    np.savez(tmp_path / "more.npz", x=x.astype(">f4"), more=np.array([{}], object))
    for name in ("big.npy", "more.npz"):
        loaded = load_inputs(tmp_path / name, IMAGE)
        assert list(loaded) == ["x"] and loaded["x"].dtype.isnative and np.array_equal(loaded["x"], x)


def test_an_image_is_what_the_preprocessing_makes_of_it(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), np.full((10, 20, 3), (0, 255, 255), np.uint8))
    how = Preprocessing(colour="bgr", size=(4, 6), scale=1 / 127.5, mean=(1,))
    x = load_inputs(tmp_path / "p.png", IMAGE, how)["x"]
    assert x.shape == (1, 3, 4, 6) and x.dtype == np.float32
    assert x[0, 0].max() == -1 and x[0, 1].min() == 1


def test_an_image_is_known_by_its_content_and_laid_over_white(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((10, 20, 4), np.uint8))
    (tmp_path / "p.png").rename(tmp_path / "bare")
    assert load_inputs(tmp_path / "bare", IMAGE, Preprocessing())["x"].min() == 1
    assert load_inputs(tmp_path / "bare", IMAGE, Preprocessing(), "black")["x"].max() == 0


def test_an_image_is_refused_without_preprocessing_or_if_it_is_damaged(tmp_path: Path) -> None:
    for name, content in (("empty.png", b""), ("text.jpg", b"no image")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=name):
            load_inputs(tmp_path / name, IMAGE, Preprocessing())
        with pytest.raises(DataError, match=r"--preset imagenet.*--bgr"):
            load_inputs(tmp_path / name, IMAGE)
