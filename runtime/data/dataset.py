"""What the loader needs of a data set: labels in memory, samples by index. In memory, mapped, or part of another set."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alula.runtime.data.order import shuffled
from alula.runtime.errors import DataError

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Dataset(Protocol):
    """A set of labelled samples of one shape.

    name    : what messages call it
    classes : names of the classes; a label is a place among them
    labels  : (N,) int64
    shape   : of one sample: (H, W, C) of an image
    dtype   : of the samples as stored: uint8 or float32
    damaged : sample -> why it could not be read, as far as it was tried
    left_out: file or folder -> why it holds no sample
    """

    name: str
    classes: tuple[str, ...]
    labels: Labels
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    damaged: MutableMapping[str, str]
    left_out: Mapping[str, str]

    def __len__(self) -> int: ...

    def read(self, index: Labels, out: Array) -> Mask:
        """Read samples.

        index  : (B,) int64
        out    : (B, *shape) dtype, filled where the sample can be read
        return : (B,) bool, which could be read
        """
        ...


class ArraySet:
    """Samples in an array, in memory or mapped.

    x      : (N, ...) uint8, or a float dtype, which is given as float32
    labels : (N,) integers
    raise  : DataError if they do not fit each other
    """

    def __init__(self, name: str, x: Array, labels: Array, classes: Sequence[str] = ()) -> None:
        if x.ndim < 2 or not (x.dtype == np.uint8 or x.dtype.kind == "f"):
            raise DataError(
                f"{name}: expected x (N, ...) of uint8 or floats, got {x.dtype} {x.shape}; convert it to uint8 or float32"
            )
        if len(labels) != len(x):
            raise DataError(
                f"{name}: expected one label for each of {len(x)} samples, got {len(labels)}; the two do not belong together"
            )
        if not len(x) or not x[0].size:
            raise DataError(f"{name}: expected samples, got x {x.shape}; there is nothing to train on")
        self.name = name
        self.labels = as_labels(name, labels)
        self.classes = tuple(classes) or tuple(str(c) for c in range(int(self.labels.max()) + 1))
        self.shape: tuple[int, ...] = x.shape[1:]
        self.dtype: np.dtype[Any] = np.dtype(np.uint8 if x.dtype == np.uint8 else np.float32)
        self.damaged: MutableMapping[str, str] = {}
        self.left_out: Mapping[str, str] = {}
        self._x = x

    def __len__(self) -> int:
        return len(self._x)

    def read(self, index: Labels, out: Array) -> Mask:
        """See `Dataset.read`; every sample can be read."""
        # `take` would first make the whole of an array contiguous or of another dtype: only where neither is needed
        if self._x.dtype == out.dtype and self._x.flags.c_contiguous and self._x.dtype.isnative:
            np.take(self._x, index, axis=0, out=out, mode="clip")
        else:
            out[...] = self._x[index]
        return np.ones(len(index), bool)


class Subset:
    """Some samples of a set, in a given order.

    index : (M,) places in the set
    """

    def __init__(self, data: Dataset, index: Array) -> None:
        places = np.asarray(index)
        if places.ndim != 1 or not places.size or places.dtype.kind not in "iu":
            raise DataError(f"{data.name}: expected a subset (M,) of places, M >= 1, got {places.dtype} {places.shape}")
        if places.min() < 0 or places.max() >= len(data):
            raise DataError(
                f"{data.name}: expected places from 0 to {len(data) - 1}, got {places.min()} to {places.max()}; correct them"
            )
        self.name, self.classes, self.shape = data.name, data.classes, data.shape
        self.dtype, self.damaged, self.left_out = data.dtype, data.damaged, data.left_out
        self._data, self._index = data, places.astype(np.int64)
        files = getattr(data, "files", ())
        self.files = tuple(files[i] for i in self._index) if files else ()
        self.labels: Labels = data.labels[self._index]

    def __len__(self) -> int:
        return len(self._index)

    def read(self, index: Labels, out: Array) -> Mask:
        """See `Dataset.read`."""
        return self._data.read(self._index[index], out)


def holdout(data: Dataset, held_ratio: float, seed: int = 0) -> tuple[Subset, Subset]:
    """Split a set in two, class by class: what to train on, what to test with. Depends on the seed and the labels alone.

    held_ratio : part of each class that is held out, rounded down, at least one sample
    raise      : DataError if a class would have no sample left on one side
    """
    if not 0 < held_ratio < 1:
        raise DataError(f"{data.name}: expected held_ratio between 0 and 1, got {held_ratio}; 0.1 is common")
    order = shuffled(len(data), seed, 0)
    held = np.zeros(len(data), bool)
    for label in np.unique(data.labels):
        places = order[data.labels[order] == label]
        if len(places) < 2:
            raise DataError(
                f"{data.name}: expected two samples of class {_class_name(data.classes, int(label))} or more to hold "
                f"one out, got {len(places)}; add some"
            )
        held[places[: max(1, int(len(places) * held_ratio))]] = True
    return Subset(data, np.flatnonzero(~held)), Subset(data, np.flatnonzero(held))


def as_labels(name: str, labels: Array) -> Labels:
    """Labels as int64 (N,).

    raise : DataError if they are no integers, or below zero
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"{name}: expected labels (N,) of integers, got {labels.dtype} {labels.shape}; one-hot labels: argmax(axis=1)"
        )
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        wrong = int(np.flatnonzero((labels < 0) | (labels > np.iinfo(np.int32).max))[0])
        raise DataError(f"{name}: expected labels from 0, got {labels[wrong]} at sample {wrong}; correct the labels")
    return np.ascontiguousarray(labels, np.int64)


def check_classes(data: Dataset, n_classes: int | None = None, complete: bool = True) -> None:
    """Refuse labels that nothing can be learnt from.

    n_classes : outputs of the network; the set's own number of classes if None
    complete  : every class has a sample, and there are two classes or more (a test set need not be so)
    raise     : DataError
    """
    n = len(data.classes) if n_classes is None else n_classes
    top = int(data.labels.max())
    if top >= n:
        first = int(np.flatnonzero(data.labels >= n)[0])
        raise DataError(
            f"{data.name}: expected labels from 0 to {n - 1}, got {data.labels[first]} at sample {first}; "
            f"correct the labels, or give the network {top + 1} outputs"
        )
    if not complete:
        return
    counts = np.bincount(data.labels, minlength=len(data.classes))
    if np.count_nonzero(counts) < 2:
        raise DataError(
            f"{data.name}: expected two classes or more, got one: {_class_name(data.classes, top)}; add another"
        )
    empty = [_class_name(data.classes, int(label)) for label in np.flatnonzero(counts == 0)]
    if empty:
        shown = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        raise DataError(
            f"{data.name}: expected samples of every class, got none of {shown}; add some, or remove the class"
        )


def _class_name(classes: Sequence[str], label: int) -> str:
    return repr(classes[label]) if label < len(classes) else str(label)
