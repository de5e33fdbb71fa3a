"""CIFAR-10 and CIFAR-100, binary version: records of label bytes and one planar image, mapped.

source : https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.data.dataset import Array, Labels, Mask
from alula.runtime.errors import DataError, SourceError
from alula.runtime.frozen import frozen

SIDE, CHANNELS = 32, 3
PIXELS = CHANNELS * SIDE * SIDE


@frozen
class Variant:
    """Which files a CIFAR has, and what stands before the pixels of a record.

    labels : name -> (its byte in a record, classes, file of their names)
    """

    name: str
    files: dict[str, tuple[str, ...]]
    labels: dict[str, tuple[int, int, str]]

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        return len(self.labels) + PIXELS


CIFAR10 = Variant(
    "CIFAR-10",
    {"train": tuple(f"data_batch_{n}.bin" for n in range(1, 6)), "test": ("test_batch.bin",)},
    {"fine": (0, 10, "batches.meta.txt")},
)
CIFAR100 = Variant(
    "CIFAR-100",
    {"train": ("train.bin",), "test": ("test.bin",)},
    {"coarse": (0, 20, "coarse_label_names.txt"), "fine": (1, 100, "fine_label_names.txt")},
)


class CifarSet:
    """Images (32, 32, 3) uint8 out of mapped record files.

    raise : SourceError, DataError if a file is not made of such records
    """

    def __init__(self, folder: Path, files: list[Path], variant: Variant, labels: str) -> None:
        if labels not in variant.labels:
            raise DataError(
                f"{folder}: expected labels {' or '.join(variant.labels)} of {variant.name}, got {labels!r}"
            )
        byte, n_classes, names = variant.labels[labels]
        self._label_bytes = len(variant.labels)
        self._records = [_records(path, variant) for path in files]
        self._ends = np.cumsum([len(records) for records in self._records])
        self.name = str(folder)
        self.classes = _class_names(folder / names, n_classes)
        self.shape: tuple[int, ...] = (SIDE, SIDE, CHANNELS)
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self.damaged: MutableMapping[str, str] = {}
        self.left_out: Mapping[str, str] = {}
        self.labels: Labels = np.concatenate([records[:, byte] for records in self._records]).astype(np.int64)
        wrong = np.flatnonzero(self.labels >= n_classes)
        if len(wrong):
            file = int(np.searchsorted(self._ends, wrong[0], side="right"))
            raise DataError(
                f"{files[file]}: expected labels from 0 to {n_classes - 1}, got {self.labels[wrong[0]]}; "
                "the file is damaged: download it again"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: Labels, out: Array) -> Mask:
        """See `Dataset.read`; every sample can be read."""
        files = np.searchsorted(self._ends, index, side="right")
        for file in np.unique(files):
            records, mine = self._records[file], files == file
            rows = np.take(records, index[mine] - (self._ends[file] - len(records)), axis=0)
            planar = rows[:, self._label_bytes :].reshape(-1, CHANNELS, SIDE, SIDE)
            out[mine] = planar.transpose(0, 2, 3, 1)
        return np.ones(len(index), bool)


def find_cifar(folder: Path) -> Variant | None:
    """Which CIFAR's files a folder has."""
    for variant in (CIFAR10, CIFAR100):
        if any((folder / file).is_file() for files in variant.files.values() for file in files):
            return variant
    return None


def open_cifar(folder: Path, split: str, labels: str) -> CifarSet:
    """One split of the CIFAR in a folder; of CIFAR-10's five training files as many as there are."""
    variant = find_cifar(folder) or CIFAR10
    files = [folder / file for file in variant.files[split] if (folder / file).is_file()]
    if not files:
        raise SourceError(f"{folder}: expected {variant.files[split][0]}, got no such file; it holds the {split} set")
    return CifarSet(folder, files, variant, labels)


def _records(path: Path, variant: Variant) -> Array:
    size, record = path.stat().st_size, variant.record_bytes
    if not size or size % record:
        raise DataError(
            f"{path}: expected {variant.name} records of {record} bytes, got {size} bytes, not a multiple; "
            "the file is cut off or of another kind: download it again"
        )
    return np.memmap(path, np.uint8, "r", shape=(size // record, record))


def _class_names(path: Path, n_classes: int) -> tuple[str, ...]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        names = []
    return tuple(names) if len(names) == n_classes else tuple(str(c) for c in range(n_classes))
