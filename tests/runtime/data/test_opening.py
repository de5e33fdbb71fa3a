"""Every format gives back the images that were written, and says in one line why it does not."""

import os

import numpy as np
import pytest

from alula.runtime.data import open_data, save_npz
from alula.runtime.errors import AlulaError, DataError, SourceError
from tests.runtime.data.formats import (
    everything,
    random_images,
    write_cifar,
    write_class_folders,
    write_idx,
    write_ppm,
)


def refusal(path, split="train", **options):
    """The error's text; it is one line that names the path."""
    with pytest.raises(AlulaError) as caught:
        open_data(path, split, **options)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and "expected" in text
    return text


@pytest.fixture
def cifar10(tmp_path):
    x, _ = random_images(50, 32, 32)
    y = np.arange(50) % 10
    for part in range(5):
        rows = slice(part * 10, part * 10 + 10)
        write_cifar(tmp_path / f"data_batch_{part + 1}.bin", y[rows, None], x[rows])
    write_cifar(tmp_path / "test_batch.bin", y[:3, None], x[:3])
    return tmp_path, x, y


def test_cifar_10_gives_its_images_channels_last_across_files(cifar10):
    folder, x, y = cifar10
    data = open_data(folder)
    read, good = everything(data)
    assert good.all() and data.shape == (32, 32, 3) and len(data.classes) == 10
    np.testing.assert_array_equal(read, x)
    np.testing.assert_array_equal(data.labels, y)
    out = np.empty((4, 32, 32, 3), np.uint8)
    data.read(np.array([49, 0, 9, 10]), out)
    np.testing.assert_array_equal(out, x[[49, 0, 9, 10]])
    assert len(open_data(folder, "test")) == 3


def test_cifar_in_the_folder_that_its_archive_unpacks_to_is_found(cifar10):
    folder, _, _ = cifar10
    inner = folder / "cifar-10-batches-bin"
    inner.mkdir()
    for file in list(folder.glob("*.bin")):
        file.rename(inner / file.name)
    (inner / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    assert open_data(folder).classes == tuple("abcdefghij")


def test_cifar_100_has_fine_and_coarse_labels(tmp_path):
    x, _ = random_images(200, 32, 32)
    labels = np.stack([np.arange(200) % 20, np.arange(200) % 100], axis=1)
    write_cifar(tmp_path / "train.bin", labels, x)
    fine, coarse = open_data(tmp_path), open_data(tmp_path, labels="coarse")
    np.testing.assert_array_equal(fine.labels, labels[:, 1])
    np.testing.assert_array_equal(coarse.labels, labels[:, 0])
    np.testing.assert_array_equal(everything(fine)[0], x)
    assert "fine" in refusal(tmp_path, labels="rough")


def test_cifar_that_is_cut_off_or_mislabelled_is_refused(cifar10):
    folder, x, _ = cifar10
    with (folder / "data_batch_3.bin").open("r+b") as file:
        file.truncate(5000)
    assert "data_batch_3.bin" in refusal(folder) and "3073" in refusal(folder)
    write_cifar(folder / "data_batch_3.bin", np.full((10, 1), 11), x[:10])
    assert "data_batch_3.bin" in refusal(folder) and "got 11" in refusal(folder)
    (folder / "test_batch.bin").unlink()
    assert "test_batch.bin" in refusal(folder, "test")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_give_grey_images(tmp_path, suffix):
    x, y = random_images(12, 7, 4, 1)
    write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", x[..., 0])
    write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", y.astype(np.uint8))
    write_idx(tmp_path / f"t10k-images.idx3-ubyte{suffix}", x[:2, ..., 0])
    write_idx(tmp_path / f"t10k-labels.idx1-ubyte{suffix}", y[:2].astype(np.uint8))
    data = open_data(tmp_path)
    np.testing.assert_array_equal(everything(data)[0], x)
    np.testing.assert_array_equal(data.labels, y)
    assert data.shape == (7, 4, 1) and len(open_data(tmp_path, "test")) == 2


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_files_are_refused(tmp_path, suffix):
    x, y = random_images(12, 7, 4, 1)
    images, labels = tmp_path / f"train-images-idx3-ubyte{suffix}", tmp_path / f"train-labels-idx1-ubyte{suffix}"
    write_idx(images, x[..., 0])
    assert "labels-idx1" in refusal(tmp_path)
    write_idx(labels, y[:5].astype(np.uint8))
    assert "12" in refusal(tmp_path) and "got 5" in refusal(tmp_path)
    write_idx(labels, y.astype(np.uint8))
    whole = images.read_bytes()
    for content in (b"", whole[:10], whole[:-9], b"\x00\x00\x0d" + whole[3:]):
        images.write_bytes(content)
        assert images.name in refusal(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_arrays_are_found_by_their_usual_names_or_by_given_ones(tmp_path, save):
    x, y = random_images(9)
    path = tmp_path / "set.npz"
    save(path, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    np.testing.assert_array_equal(everything(open_data(path))[0], x)
    assert len(open_data(path, "test")) == 2
    save(path, images=x.transpose(0, 3, 1, 2), labels=y)
    data = open_data(path, names=("images", "labels"), layout="NCHW")
    np.testing.assert_array_equal(everything(data)[0], x)
    assert "images" in refusal(path)


def test_npz_of_floats_is_read_as_float32_in_any_order_of_memory(tmp_path):
    x, y = random_images(9)
    np.savez(tmp_path / "set.npz", x=np.asfortranarray(x.astype(">f8")), y=y)
    read, _ = everything(open_data(tmp_path / "set.npz"))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, x)


def test_npz_that_is_no_archive_or_holds_objects_or_ends_early_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    path.write_bytes(b"nothing of the kind")
    refusal(path)
    np.savez(path, x=np.array([[{}]], object), y=np.zeros(1, int))
    refusal(path)
    x, y = random_images(9)
    np.savez(path, x=x, y=y)
    path.write_bytes(path.read_bytes()[:300])
    refusal(path)
    np.savez(path, x=x, y=np.eye(3)[y])
    assert "argmax" in refusal(path)
    np.savez(path, x=x[:0], y=y[:0])
    refusal(path)
    np.savez(path, x=x, y=y - 1)
    assert "got -1" in refusal(path)


def test_class_folders_are_numbered_by_name_and_read_without_opencv(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    x, y = random_images(9)
    write_class_folders(tmp_path, x, y)
    data = open_data(tmp_path)
    assert data.classes == ("ant", "bee", "cat")
    np.testing.assert_array_equal(data.labels, np.sort(y))
    np.testing.assert_array_equal(everything(data)[0], x[np.argsort(y, kind="stable")])
    (tmp_path / "ant" / "x.png").write_bytes(b"x")
    assert "alula[vision]" in refusal(tmp_path)


def test_the_test_split_takes_its_classes_from_the_training_split(tmp_path):
    x, y = random_images(9)
    write_class_folders(tmp_path / "train", x, y)
    write_class_folders(tmp_path / "val", x[1:2], y[1:2])
    data = open_data(tmp_path, "test")
    assert data.labels.tolist() == [1] and data.classes == ("ant", "bee", "cat")
    write_ppm(tmp_path / "val" / "dog" / "1.ppm", x[0])
    assert "'dog'" in refusal(tmp_path, "test")


def test_folders_that_cannot_teach_anything_are_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent")
    refusal(tmp_path)
    (tmp_path / "ant").mkdir()
    assert "none" in refusal(tmp_path)
    x, _ = random_images(2)
    write_ppm(tmp_path / "ant" / "0.ppm", x[0])
    assert "two classes" in refusal(tmp_path)
    write_ppm(tmp_path / "bee" / "0.ppm", x[0])
    (tmp_path / "cat").mkdir()
    assert "'cat'" in refusal(tmp_path)
    (tmp_path / "cat").rmdir()
    assert len(open_data(tmp_path)) == 2
    assert "1 outputs" not in refusal(tmp_path, n_classes=1)
    assert "hold out" in refusal(tmp_path, "test")
    refusal(tmp_path, "tset")
    refusal(tmp_path, channels=2)


def test_archives_and_pickles_are_named_for_what_they_are(tmp_path):
    (tmp_path / "cifar10.tar.gz").write_bytes(b"")
    assert "unpack" in refusal(tmp_path / "cifar10.tar.gz")
    (tmp_path / "data_batch_1").write_bytes(b"")
    assert "binary" in refusal(tmp_path)


def test_every_error_is_also_a_builtin_one(tmp_path):
    assert issubclass(DataError, ValueError) and issubclass(SourceError, OSError)


def test_a_saved_set_is_the_set_without_its_damaged_images(tmp_path):
    x, y = random_images(9)
    write_class_folders(tmp_path / "set", x, y)
    (tmp_path / "set" / "bee" / "004.ppm").write_bytes(b"P6 5 6 255\nshort")
    folder = open_data(tmp_path / "set")
    assert save_npz(folder, tmp_path / "set.npz", batch=2) == 8
    data = open_data(tmp_path / "set.npz")
    images, good = everything(folder)
    np.testing.assert_array_equal(everything(data)[0], images[good])
    np.testing.assert_array_equal(data.labels, folder.labels[good])
    assert data.classes == folder.classes


@pytest.mark.parametrize(
    ("train", "test"),
    [("Train", "Test"), ("TRAIN", "VAL"), ("Training", "testing"), ("train", "Valid"), ("train", "validation")],
)
def test_capitals_in_the_names_of_the_splits_mean_nothing(tmp_path, train, test):
    x, y = random_images(9)
    write_class_folders(tmp_path / train, x, y)
    write_class_folders(tmp_path / test, x[:3], y[:3])
    assert open_data(tmp_path).classes == ("ant", "bee", "cat") and len(open_data(tmp_path)) == 9
    assert len(open_data(tmp_path, "test")) == 3
    (tmp_path / "__MACOSX").mkdir()
    outer = tmp_path.with_name(tmp_path.name + "-unpacked")
    outer.mkdir()
    tmp_path.rename(outer / "set")
    assert len(open_data(outer)) == 9 and len(open_data(outer, "test")) == 3


def test_two_folders_that_differ_in_capitals_alone_are_refused(tmp_path):
    for name in ("train", "Train"):
        write_class_folders(tmp_path / name, *random_images(3))
    if len(list(tmp_path.iterdir())) == 2:  # a file system that tells them apart
        assert "put them together" in refusal(tmp_path)


def test_what_is_left_out_is_counted_and_what_is_hidden_is_not_read(tmp_path):
    x, y = random_images(6)
    write_class_folders(tmp_path / "train", x, y)
    for name in (
        ".ipynb_checkpoints/0-checkpoint.ppm",
        "._000.ppm",
        ".DS_Store",
        "Thumbs.db",
        "deep/notes.txt",
        "deep/7.ppm",
    ):
        write_ppm(tmp_path / "train" / "ant" / name, x[0])
    (tmp_path / "train" / "ant" / "deep" / "notes.txt").write_text("no image")
    write_ppm(tmp_path / "train" / "loose.ppm", x[0])
    write_ppm(tmp_path / "test" / "0.ppm", x[0])  # a test set without labels
    (tmp_path / "extra").mkdir()
    data = open_data(tmp_path)
    assert len(data) == 7 and everything(data)[1].all()
    reasons = sorted(data.left_out.values())
    assert reasons == sorted(
        [*["hidden"] * 4, "not an image", "not in a class folder", "not in the training or test folder",
         "without class folders, so without labels"]
    )  # fmt: skip
    assert "hold out" in refusal(tmp_path, "test")


def test_names_that_are_no_text_are_escaped(tmp_path):
    x, y = random_images(6)
    write_class_folders(tmp_path, x, y, names=(os.fsdecode(b"gr\xfcn"), "bee", "cat"))
    (tmp_path / "bee" / os.fsdecode(b"\xff.ppm")).write_bytes(b"P6 5 6 255\nshort")
    data = open_data(tmp_path)
    everything(data)
    assert data.classes == ("bee", "cat", "gr\\xfcn")
    (path,) = data.damaged
    assert path.endswith("bee/\\xff.ppm") and path.encode()
