"""Augmented batches against one image at a time, written plainly."""

import numpy as np
import pytest

from alula.runtime.data import ArraySet, Augment, Loader, moments
from alula.runtime.data.order import CROP_X, CROP_Y, FLIP, below, draws, shuffled
from alula.runtime.errors import DataError
from tests.runtime.data.formats import random_images


def plain(image, augment, seed, epoch, sample):
    """What an `Augment` does to one image: float64 (H, W, C)."""
    p = augment.padding
    image = np.pad(image, ((p, p), (p, p), (0, 0)), constant_values=augment.fill)
    h, w = augment.crop or (image.shape[0] - 2 * p, image.shape[1] - 2 * p)
    room_y, room_x = image.shape[0] - h + 1, image.shape[1] - w + 1
    one = np.array([sample])
    top, left = (room_y - 1) // 2, (room_x - 1) // 2
    if augment.random:
        top, left = below(draws(seed, epoch, CROP_Y, one), room_y)[0], below(draws(seed, epoch, CROP_X, one), room_x)[0]
    image = image[top : top + h, left : left + w]
    if augment.random and augment.flip and draws(seed, epoch, FLIP, one)[0] >> np.uint64(63):
        image = image[:, ::-1]
    return (image / 255.0 - np.array(augment.mean or 0.0)) / np.array(augment.std or 1.0)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    "augment",
    [
        Augment(),
        Augment(flip=True),
        Augment(padding=2, fill=7),
        Augment(crop=(4, 3)),
        Augment(crop=(10, 9), padding=2, flip=True),
        Augment(crop=(6, 5), padding=4, flip=True, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
        Augment(padding=1, flip=True, mean=(0.5,)).for_evaluation(),
    ],
)
def test_a_batch_is_its_images_one_by_one(augment, layout):
    x, y = random_images(20)
    loader = Loader(ArraySet("set", x, y), 7, seed=3, augment=augment, layout=layout, prefetch=0)
    for batch in loader.epoch(2):
        expected = np.stack([plain(x[n], augment, 3, 2, n) for n in batch.samples])
        if layout == "NCHW":
            expected = expected.transpose(0, 3, 1, 2)
        assert batch.x.dtype == np.float32 and batch.x.flags.c_contiguous
        assert batch.x.shape[1:] == loader.sample_shape
        np.testing.assert_allclose(batch.x, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(batch.y, y[batch.samples])


def test_samples_that_are_no_images_are_normalised_alone():
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    data = ArraySet("set", x, np.array([0, 1, 0, 1]))
    batch = next(Loader(data, 4, shuffle=False, augment=Augment(mean=(1.0,), std=(2.0,))).epoch(0))
    np.testing.assert_array_equal(batch.x, (x - 1) / 2)
    with pytest.raises(DataError, match="to crop or flip"):
        Loader(data, 2, augment=Augment(flip=True))


@pytest.mark.parametrize(
    "options", [{"padding": -1}, {"fill": 256}, {"std": (0.0,)}, {"mean": (float("nan"),)}, {"crop": (0, 3)}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(DataError, match="augment: expected"):
        Augment(**options)


@pytest.mark.parametrize("options", [{"crop": (7, 5)}, {"mean": (0.1, 0.2)}])
def test_options_that_do_not_fit_the_set_are_refused(options):
    with pytest.raises(DataError, match="set: expected"):
        Loader(ArraySet("set", *random_images(4)), 2, augment=Augment(**options))


def test_moments_are_those_of_the_whole_set():
    x, y = random_images(33)
    found = moments(ArraySet("set", x, y), batch=8)
    np.testing.assert_allclose(found.mean, (x / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, (x / 255).std(axis=(0, 1, 2)), rtol=1e-12)
    loader = Loader(ArraySet("set", x, y), 33, augment=Augment(**found.as_options()))
    batch = next(loader.epoch(0))
    np.testing.assert_allclose(batch.x.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(batch.x.std(axis=(0, 1, 2)), 1, atol=1e-5)


def test_draws_are_uniform_and_differ_with_every_part_of_their_key():
    index = np.arange(100_000)
    counts = np.bincount(below(draws(1, 2, FLIP, index), 9), minlength=9)
    assert len(counts) == 9 and abs(counts / len(index) - 1 / 9).max() < 0.004
    keys = [(1, 2, FLIP), (2, 2, FLIP), (1, 3, FLIP), (1, 2, CROP_X), (2, 1, FLIP)]
    bits = np.array([draws(*key, index) >> np.uint64(63) for key in keys], np.float64)
    assert abs(np.corrcoef(bits) - np.eye(len(keys))).max() < 0.02


def test_the_draws_never_change():
    # A checkpoint of an older version resumes with the same batches
    assert draws(7, 3, 1, np.arange(2)).tolist() == KNOWN
    assert sorted(shuffled(10, 7, 3).tolist()) == list(range(10))


KNOWN = [466343613534939430, 18237396460686994422]


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_channel_that_never_changes_gets_deviation_one(value):
    x, y = random_images(6)
    x[..., 1] = value
    data = ArraySet("set", x, y)
    found = moments(data)
    assert found.constant == (1,) and found.as_options()["std"][1] == 1.0
    batch = next(Loader(data, 6, augment=Augment(**found.as_options())).epoch(0))
    assert np.abs(batch.x[..., 1]).max() < 1e-6 and batch.x[..., 0].std() == pytest.approx(1, abs=1e-4)
    rounded = moments(ArraySet("set", np.where([False, True, False], np.float32(0.1), x.astype(np.float32)), y))
    assert rounded.constant == (1,)
