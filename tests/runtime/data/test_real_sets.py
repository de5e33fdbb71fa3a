"""Real sets: CIFAR-10 as class folders in the archive under ALULA_DATA, Fashion-MNIST as Debian installs it."""

import importlib.util
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from alula.runtime.data import Augment, Loader, moments, open_data, save_npz

ARCHIVE = Path(os.environ.get("ALULA_DATA", "")) / "cifar10.tar.gz"
FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not os.environ.get("ALULA_DATA"), reason="ALULA_DATA does not name a folder of real images")
@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed")
def test_cifar_10_as_folders_of_jpeg_files_trains_and_becomes_a_mapped_file(tmp_path):
    classes = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            parts = Path(member.name).parts
            if member.isfile() and len(parts) == 4 and parts[1] == "train" and classes.setdefault(parts[2], 0) < 3:
                classes[parts[2]] += 1
                archive.extract(member, tmp_path, filter="data")
                if len(classes) == 10 and min(classes.values()) == 3:
                    break
    data = open_data(tmp_path / "cifar10")
    assert data.shape == (32, 32, 3) and len(data.classes) == 10 and len(data) == 30
    train = [batch.x for batch in Loader(data, 8, augment=Augment(padding=4, flip=True)).epoch(0)]
    assert not data.damaged and all(np.isfinite(x).all() for x in train)
    assert save_npz(data, tmp_path / "cifar.npz") == 30
    mapped = open_data(tmp_path / "cifar.npz")
    for ours, theirs in zip(Loader(data, 8).epoch(1), Loader(mapped, 8).epoch(1), strict=True):
        np.testing.assert_array_equal(ours.x, theirs.x)
    found = moments(data)
    assert all(0.3 < mean < 0.65 for mean in found.mean) and all(0.15 < std < 0.35 for std in found.std)


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_has_the_moments_that_the_field_uses():
    data = open_data(FASHION)
    assert len(data) == 60_000 and data.shape == (28, 28, 1) and np.bincount(data.labels).tolist() == [6000] * 10
    found = moments(data)
    np.testing.assert_allclose([*found.mean, *found.std], [0.2860, 0.3530], atol=1e-4)
    assert len(open_data(FASHION, "test")) == 10_000
