"""A folder of class folders: each sub-folder is a class, sorted by name. Images are decoded when they are read."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.data.dataset import Array, Labels, Mask
from alula.runtime.data.image import NATIVE, SUFFIXES, Decoder
from alula.runtime.errors import DataError, NoSplitError, require

SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation", "testing")}
KEEP_BYTES = 64 << 20  # a sixteenth of a small Pi's memory


class ImageSet:
    """Labelled image files of one size, (H, W, C) uint8.

    files      : paths, and the label of each
    size       : (H, W) to scale to; None: all have the size of the first that can be read
    channels   : 3 (RGB) or 1 (grey)
    keep_bytes : keep decoded images if all of them need no more
    raise      : DataError if none can be read; MissingExtraError if they need OpenCV
    """

    def __init__(
        self,
        name: str,
        files: list[Path],
        labels: list[int],
        classes: tuple[str, ...],
        size: tuple[int, int] | None = None,
        channels: int = 3,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        if channels not in (1, 3) or (size is not None and min(size) < 1):
            raise DataError(
                f"{name}: expected 1 or 3 channels and a size from 1x1, got channels {channels}, size {size}"
            )
        if size or any(path.suffix.lower() not in NATIVE for path in files):
            require("cv2", "vision", f"{name}: images")
        self.name, self.classes = name, classes
        self.labels: Labels = np.array(labels, np.int64)
        self.damaged: MutableMapping[str, str] = {}
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self._files, self._decode = files, Decoder(size, channels)
        self.files = tuple(path.name for path in files)
        first = next((image for path in files if (image := self._image(path)) is not None), None)
        if first is None:
            raise DataError(f"{name}: expected images that can be read, got none of {len(files)}; check the files")
        self.shape: tuple[int, ...] = first.shape
        self._kept: dict[int, Array] | None = {} if first.nbytes * len(files) <= keep_bytes else None

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: Labels, out: Array) -> Mask:
        """See `Dataset.read`; an image that cannot be read is noted in `damaged`.

        raise : DataError if an image has another size than the first
        """
        good = np.zeros(len(index), bool)
        for place, sample in enumerate(index.tolist()):
            image = self._kept.get(sample) if self._kept is not None else None
            if image is None:
                path = self._files[sample]
                if str(path) in self.damaged or (image := self._image(path)) is None:
                    continue
                if image.shape != self.shape:
                    raise DataError(
                        f"{path}: expected {self.shape[0]}x{self.shape[1]} as the first image, got "
                        f"{image.shape[0]}x{image.shape[1]}; give size=(H, W) to scale all of them"
                    )
                if self._kept is not None:
                    self._kept[sample] = image
            out[place] = image
            good[place] = True
        return good

    def _image(self, path: Path) -> Array | None:
        image = self._decode(path)
        if isinstance(image, str):
            self.damaged[str(path)] = image
            return None
        return image


def find_images(folder: Path) -> bool:
    """Whether a folder holds folders."""
    return any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir())


def open_images(
    folder: Path, split: str, size: tuple[int, int] | None, channels: int, keep_bytes: int = KEEP_BYTES
) -> ImageSet:
    """One split: `folder/train/<class>/*` beside `folder/test/<class>/*`, or all of `folder/<class>/*` to train on.

    The classes are those of the training folder, so that a label means the same in both splits.

    raise : DataError if there is no such split, no class or no image, or a class that was not trained
    """
    parts = {part: _split_folder(folder, part) for part in SPLIT_FOLDERS}
    place = parts[split]
    if place is None:
        if split == "test" or parts["test"] is not None:
            raise NoSplitError(
                f"{folder}: expected a folder {SPLIT_FOLDERS[split][0]}/ of class folders, got none; make one, "
                "or hold out a part of the training set"
            )
        place = folder
    classes = _class_folders(parts["train"] or place)
    found = _class_folders(place)
    foreign = [name for name in found if name not in classes]
    if foreign:
        raise DataError(
            f"{place}: expected the classes of the training set, got {foreign[0]!r} too; remove or rename it"
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        mine = (
            sorted(path for path in found[name].rglob("*") if path.suffix.lower() in SUFFIXES) if name in found else []
        )
        mine = [path for path in mine if not path.name.startswith(".")]
        files += mine
        labels += [label] * len(mine)
    if not files:
        raise DataError(
            f"{place}: expected images ({', '.join(sorted(SUFFIXES))}) in class folders, got none; add some"
        )
    return ImageSet(str(place), files, labels, tuple(classes), size, channels, keep_bytes)


def _split_folder(folder: Path, split: str) -> Path | None:
    return next((folder / name for name in SPLIT_FOLDERS[split] if (folder / name).is_dir()), None)


def _class_folders(folder: Path) -> dict[str, Path]:
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return {entry.name: entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
