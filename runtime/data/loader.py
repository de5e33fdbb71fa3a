"""Batches in a seeded order, prepared by one thread.

A batch depends only on (seed, epoch, step), so a resumed run sees the same batches as an uninterrupted one.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from alula.runtime.data.augment import Augment, Augmenter
from alula.runtime.data.dataset import Dataset, Labels, Mask
from alula.runtime.data.order import shuffled
from alula.runtime.errors import DataError


class Batch(NamedTuple):
    """What one step trains on.

    x       : (B, H, W, C) float32, or (B, C, H, W) by the loader's layout
    y       : (B,) int64, labels
    samples : (B,) int64, which ones these are, places in the set
    step    : place of the batch in its epoch, from 0
    """

    x: npt.NDArray[np.float32]
    y: Labels
    samples: Labels
    step: int


Make: TypeAlias = Callable[[int], Batch | None]


class Loader:
    """Batches of a data set.

    batch     : samples in each
    seed      : of shuffling and augmentation
    shuffle   : a new order in each epoch; False: the set's own order
    drop_last : leave out the last batch of an epoch if it is short
    augment   : what is done to the images; `augment.for_evaluation()` when testing
    layout    : NHWC or NCHW, of x
    prefetch  : batches made ahead by a thread; 0 makes each when it is asked for
    reuse     : a batch is valid only until the next is asked for, and its memory is used again
    refill    : a damaged image's place goes to the next one that can be read, so that batches keep their size;
                False: the batch gets shorter. None: as `shuffle`, since a test must not count an image twice
    raise     : DataError if the options do not fit the set
    """

    def __init__(
        self,
        data: Dataset,
        batch: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        augment: Augment | None = None,
        layout: str = "NHWC",
        prefetch: int = 2,
        reuse: bool = False,
        refill: bool | None = None,
    ) -> None:
        if not 1 <= batch <= len(data):
            raise DataError(
                f"{data.name}: expected a batch of 1 to {len(data)} samples, got {batch}; there are no more in the set"
            )
        if prefetch < 0:
            raise DataError(f"{data.name}: expected prefetch >= 0, got {prefetch}; 2 is enough")
        self.data, self.batch, self.seed, self.shuffle, self.drop_last = data, batch, seed, shuffle, drop_last
        self._augment, self._layout = augment or Augment(), layout
        self._prefetch, self._reuse = prefetch, reuse
        self._refill = shuffle if refill is None else refill
        self.sample_shape = Augmenter(self._augment, data, 1, seed, layout).out_shape

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.data), self.batch)
        return whole + (1 if rest and not self.drop_last else 0)

    @property
    def damaged(self) -> dict[str, str]:
        """Samples that could not be read so far -> why."""
        return dict(self.data.damaged)

    def order(self, epoch: int) -> Labels:
        """The order of an epoch, (N,) int64; a function of (seed, epoch)."""
        if epoch < 0:
            raise DataError(f"{self.data.name}: expected an epoch from 0, got {epoch}")
        return shuffled(len(self.data), self.seed, epoch) if self.shuffle else np.arange(len(self.data))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from step `start` on. Closing the iterator, or leaving its loop, ends the thread.

        raise : DataError if there is no such step, or no image can be read; whatever the thread met
        """
        if not 0 <= start <= self.steps:
            raise DataError(
                f"{self.data.name}: expected a step from 0 to {self.steps}, got {start}; was it saved with another batch size?"
            )
        make = self._maker(epoch)
        steps = range(start, self.steps)
        if self._prefetch:
            return _prefetched(make, steps, self._prefetch)
        return (batch for step in steps if (batch := make(step)) is not None)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of epoch 0: for a test set, whose order never changes."""
        return self.epoch(0)

    def _maker(self, epoch: int) -> Make:
        order = self.order(epoch)
        augmenter = Augmenter(self._augment, self.data, self.batch, self.seed, self._layout)
        # One batch is with the caller, `prefetch` wait, one is being made
        ring = itertools.cycle([self._new(augmenter) for _ in range(self._prefetch + 2)]) if self._reuse else None

        def make(step: int) -> Batch | None:
            places = np.arange(step * self.batch, min((step + 1) * self.batch, len(order)))
            index = order[places]
            good = self.data.read(index, augmenter.stored[: len(index)])
            if not good.all():
                index = self._mend(order, places, good, augmenter)
                if not len(index):
                    return None
            x, y = next(ring) if ring else self._new(augmenter, len(index))
            x, y = x[: len(index)], y[: len(index)]
            augmenter(epoch, index, x)
            y[...] = self.data.labels[index]
            return Batch(x, y, index, step)

        return make

    def _new(self, augmenter: Augmenter, size: int | None = None) -> tuple[npt.NDArray[np.float32], Labels]:
        size = self.batch if size is None else size
        return np.empty((size, *augmenter.out_shape), np.float32), np.empty(size, np.int64)

    def _mend(self, order: Labels, places: Labels, good: Mask, augmenter: Augmenter) -> Labels:
        """Fill the holes that damaged images left, or close them; which samples the batch has then."""
        stored, index = augmenter.stored, order[places]
        if not self._refill:
            kept = np.flatnonzero(good)
            stored[: len(kept)] = stored[kept]
            return index[kept]
        for hole in np.flatnonzero(~good):
            for ahead in range(1, len(order)):
                other = order[(places[hole] + ahead) % len(order)]
                if self.data.read(np.array([other]), stored[hole : hole + 1])[0]:
                    index[hole] = other
                    break
            else:
                raise DataError(
                    f"{self.data.name}: expected images that can be read, got none of {len(order)}; check the files"
                )
        return index


def _prefetched(make: Make, steps: range, depth: int) -> Iterator[Batch]:
    """Run `make` in a thread, at most `depth` batches ahead."""
    waiting: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for step in steps:
                if stop.is_set():
                    return
                batch = make(step)
                if batch is not None:
                    waiting.put(batch)
            if not stop.is_set():
                waiting.put(None)
        except BaseException as error:  # handed to the caller, whatever it is
            waiting.put(error)

    thread = threading.Thread(target=work, name="alula-loader", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        while thread.is_alive():
            # The thread may stand before a full queue: make room until it sees the flag
            try:
                waiting.get_nowait()
            except queue.Empty:
                thread.join(0.01)
