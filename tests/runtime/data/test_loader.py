"""Batches: the same from any place again, in order, whatever the thread does."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alula.runtime.data import ArraySet, Augment, Loader, Subset, holdout, open_data
from alula.runtime.errors import DataError
from tests.runtime.data.formats import random_images, write_class_folders

CROPS = Augment(padding=2, flip=True)


@pytest.fixture
def data():
    return ArraySet("set", *random_images(23))


def copies(batches):
    """What an iterator of batches gave, kept."""
    return [(b.x.tobytes(), b.y.tolist(), b.samples.tolist(), b.step) for b in batches]


def no_thread_is_left():
    """Whether every loader's thread has ended."""
    return not any(thread.name == "alula-loader" for thread in threading.enumerate())


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 40), batch=st.integers(1, 40), seed=st.integers(0, 2**64), epoch=st.integers(0, 9),
    start=st.integers(0, 40), drop_last=st.booleans(), prefetch=st.integers(0, 3),
)  # fmt: skip
def test_an_epoch_from_any_step_is_the_rest_of_the_whole_one(n, batch, seed, epoch, start, drop_last, prefetch):
    batch = min(batch, n)
    data = ArraySet("set", *random_images(n))
    options = {"seed": seed, "drop_last": drop_last, "augment": CROPS}
    whole = copies(Loader(data, batch, prefetch=0, **options).epoch(epoch))
    loader = Loader(data, batch, prefetch=prefetch, **options)
    start = min(start, loader.steps)
    assert len(whole) == loader.steps
    assert copies(loader.epoch(epoch, start)) == whole[start:]
    seen = [sample for _, _, samples, _ in whole for sample in samples]
    assert len(set(seen)) == len(seen) == (n // batch * batch if drop_last else n)


def test_epochs_and_seeds_differ_and_the_set_keeps_its_order_unshuffled(data):
    orders = [Loader(data, 5, seed=seed).order(epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert [s for b in Loader(data, 5, shuffle=False) for s in b.samples] == list(range(23))


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_reused_memory_gives_the_same_batches_and_stays_in_place(data, prefetch):
    loader = Loader(data, 4, augment=CROPS, prefetch=prefetch, reuse=True)
    kept, places = [], set()
    for batch in loader.epoch(1):
        time.sleep(0.002)  # the thread runs ahead as far as it may
        kept += copies([batch])
        places.add(batch.x.ctypes.data)
    assert kept == copies(Loader(data, 4, augment=CROPS, prefetch=0).epoch(1))
    assert len(places) <= prefetch + 2


def test_leaving_an_epoch_ends_its_thread(data):
    for taken in (0, 1, 3):
        batches = Loader(data, 2, prefetch=2).epoch(0)
        for _ in range(taken):
            next(batches)
        time.sleep(0.01)
        batches.close()
        assert no_thread_is_left()


def test_what_the_thread_meets_reaches_the_caller(data):
    class Broken(Subset):
        def read(self, index, out):
            if 7 in index:
                raise RuntimeError("the card was pulled out")
            return super().read(index, out)

    loader = Loader(Broken(data, np.arange(23)), 4, shuffle=False)
    steps = []
    with pytest.raises(RuntimeError, match="pulled out"):
        for batch in loader.epoch(0):
            steps.append(batch.step)
    assert steps == [0] and no_thread_is_left()


@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"batch": 24}, {"batch": 2, "prefetch": -1}, {"batch": 2, "layout": "CHWN"}]
)
def test_options_that_do_not_fit_are_refused(data, options):
    with pytest.raises(DataError, match=r"^set: expected"):
        Loader(data, **options)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 13)])
def test_a_place_that_does_not_exist_is_refused(data, epoch, start):
    with pytest.raises(DataError, match=r"^set: expected"):
        Loader(data, 2, prefetch=0).epoch(epoch, start)


@pytest.fixture
def damaged(tmp_path):
    write_class_folders(tmp_path, *random_images(12))
    for name in ("ant/003.ppm", "cat/005.ppm"):
        (tmp_path / name).write_bytes(b"P6 5 6 255\nshort")
    return tmp_path


def test_damaged_images_are_named_and_the_others_keep_their_places(damaged):
    data = open_data(damaged)
    loader = Loader(data, 5, seed=4, prefetch=1)
    whole = copies(loader.epoch(0))
    assert sorted(path[-11:] for path in loader.damaged) == ["ant/003.ppm", "cat/005.ppm"]
    assert "cut off" in next(iter(loader.damaged.values()))
    order, bad = loader.order(0).tolist(), {1, 9}
    seen = [sample for _, _, samples, _ in whole for sample in samples]
    assert len(seen) == 12 and not bad & set(seen)
    assert all(sample == there for sample, there in zip(seen, order) if there not in bad)
    for start in range(3):  # resumed by another process, which knows nothing of the damage
        again = Loader(open_data(damaged), 5, seed=4, prefetch=0)
        assert copies(again.epoch(0, start)) == whole[start:]


def test_a_test_set_counts_no_image_twice(damaged):
    batches = list(Loader(open_data(damaged), 5, shuffle=False))
    assert [s for b in batches for s in b.samples] == [0, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    assert [len(b.x) for b in batches] == [4, 4, 2]
    alone = Loader(open_data(damaged), 1, shuffle=False, reuse=True, prefetch=1)
    assert [b.step for b in alone] == [0, 2, 3, 4, 5, 6, 7, 8, 10, 11]


def test_a_set_whose_images_are_all_damaged_is_an_error(damaged):
    data = open_data(damaged)
    for path in damaged.rglob("*.ppm"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="got none of 12"):
        list(Loader(data, 5).epoch(0))
    with pytest.raises(DataError, match="can be read, got none of 12"):
        open_data(damaged)


def test_a_holdout_takes_a_part_of_every_class_and_the_rest_is_the_training_set(data):
    train, held = holdout(data, 0.3, seed=1)
    assert np.bincount(held.labels).tolist() == [2, 2, 2] and len(train) + len(held) == 23
    both = {s for part in (train, held) for b in Loader(part, 1, shuffle=False) for s in [b.x.tobytes()]}
    assert len(both) == 23
    with pytest.raises(DataError, match="two samples of class"):
        holdout(ArraySet("set", *random_images(3)), 0.3)
    with pytest.raises(DataError, match="between 0 and 1"):
        holdout(data, 1.0)


@pytest.mark.parametrize("index", [[], [23], [-1], [0.5]])
def test_a_subset_of_no_such_places_is_refused(data, index):
    with pytest.raises(DataError, match=r"^set: expected"):
        Subset(data, np.array(index))
