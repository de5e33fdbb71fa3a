"""A folder of class folders: each sub-folder is a class, sorted by name. Images are decoded when they are read."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.data.dataset import Array, Labels, Mask
from alula.runtime.data.decoder import Decoder
from alula.runtime.data.image import NATIVE, SUFFIXES
from alula.runtime.data.listing import is_hidden, list_images, visible_folders
from alula.runtime.data.opencv import opencv
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import DataError, NoSplitError
from alula.runtime.files import printable

SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation", "testing")}
KEEP_BYTES = 64 << 20  # a sixteenth of a small Pi's memory


class ImageSet:
    """Labelled image files of one size, (H, W, C) uint8.

    files      : paths, and the label of each
    how        : their colours, and how they reach their size; without a size all have that of the first that can be read
    alpha      : what transparent images are laid over, as in `read_image`
    left_out   : what else lay there: path -> why
    keep_bytes : keep decoded images if all of them need no more
    raise      : DataError if none can be read; MissingExtraError if they need OpenCV
    """

    def __init__(
        self,
        name: str,
        files: list[Path],
        labels: list[int],
        classes: tuple[str, ...],
        how: Preprocessing,
        keep_bytes: int = KEEP_BYTES,
        alpha: str = "white",
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        if how.size or any(path.suffix.lower() in SUFFIXES - NATIVE for path in files):
            opencv(f"{name}: images")
        self.name, self.classes = name, classes
        self.labels: Labels = np.array(labels, np.int64)
        self.damaged: MutableMapping[str, str] = {}
        self.left_out: Mapping[str, str] = dict(left_out or {})
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self._files, self._decode = files, Decoder(how, alpha)
        self._bad: set[int] = set()
        self.files = tuple(path.name for path in files)
        first = next((image for sample in range(len(files)) if (image := self._image(sample)) is not None), None)
        if first is None:
            why = next(iter(self.damaged.values()), "")
            raise DataError(
                f"{name}: expected images that can be read, got none of {len(files)} (first: {why}); check the files"
            )
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
                if sample in self._bad or (image := self._image(sample)) is None:
                    continue
                if image.shape != self.shape:
                    raise DataError(
                        f"{printable(self._files[sample])}: expected {self.shape[0]}x{self.shape[1]} as the first image, got "
                        f"{image.shape[0]}x{image.shape[1]}; give --size H,W (in Python size=(H, W)) to scale all of them"
                    )
                if self._kept is not None:
                    self._kept[sample] = image
            out[place] = image
            good[place] = True
        return good

    def _image(self, sample: int) -> Array | None:
        image = self._decode(self._files[sample])
        if isinstance(image, str):
            self._bad.add(sample)
            self.damaged[printable(self._files[sample])] = image
            return None
        return image


def find_images(folder: Path) -> bool:
    """Whether a folder holds folders."""
    return bool(visible_folders(folder))


def open_images(
    folder: Path,
    split: str,
    how: Preprocessing,
    keep_bytes: int = KEEP_BYTES,
    alpha: str = "white",
) -> ImageSet:
    """One split: `folder/train/<class>/*` beside `folder/test/<class>/*`, or all of `folder/<class>/*` to train on.

    Capitals in the names of the splits mean nothing. The classes are those of the training folder, so that a label means
    the same in both splits. What lies there and is no image in a class folder is noted in `left_out`.

    raise : DataError if there is no such split, no class or no image, or a class that was not trained
    """
    folder = _inner(folder)
    left_out: dict[str, str] = {}
    parts = {part: _split_folder(folder, part) for part in SPLIT_FOLDERS}
    place = parts[split]
    if place is None:
        if split == "test" or parts["test"] is not None:
            raise _no_split(folder, split)
        place = folder
    elif split == "train":
        _note_rest(folder, [path for path in parts.values() if path], "not in the training or test folder", left_out)
        if parts["test"] and not visible_folders(parts["test"]):
            left_out[printable(parts["test"])] = "without class folders, so without labels"
    classes = visible_folders(parts["train"] or place)
    found = visible_folders(place)
    if split == "test" and not found:
        raise _no_split(folder, split)  # images without labels
    foreign = [name for name in found if name not in classes]
    if foreign:
        raise DataError(
            f"{printable(place)}: expected the classes of the training set, got {printable(foreign[0])!r} too; remove or rename it"
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        mine = list_images(found[name], left_out, deep=True) if name in found else []
        files += mine
        labels += [label] * len(mine)
    _note_rest(place, list(found.values()), "not in a class folder", left_out)
    if not files:
        raise DataError(
            f"{printable(place)}: expected images ({', '.join(sorted(SUFFIXES))}) in class folders, got none; add some"
        )
    names = tuple(printable(name) for name in classes)
    return ImageSet(printable(place), files, labels, names, how, keep_bytes, alpha, left_out)


def _inner(folder: Path) -> Path:
    """The folder that holds the splits or classes: of an unpacked archive it may lie one further down."""
    inside = list(visible_folders(folder).values())
    if len(inside) != 1 or _split_folder(folder, "train") or _split_folder(folder, "test"):
        return folder
    classes = len(visible_folders(inside[0])) > 1 and not list_images(inside[0], {})
    return inside[0] if classes or _split_folder(inside[0], "train") else folder


def _split_folder(folder: Path, split: str) -> Path | None:
    for name in SPLIT_FOLDERS[split]:
        found = [path for other, path in visible_folders(folder).items() if other.lower() == name]
        if len(found) > 1:
            raise DataError(
                f"{printable(folder)}: expected one folder {name}/, got {found[0].name} and {found[1].name}; put them together"
            )
        if found:
            return found[0]
    return None


def _no_split(folder: Path, split: str) -> NoSplitError:
    return NoSplitError(
        f"{printable(folder)}: expected a folder {SPLIT_FOLDERS[split][0]}/ of class folders, got none; make one, "
        "or hold out a part of the training set"
    )


def _note_rest(folder: Path, used: list[Path], why: str, left_out: dict[str, str]) -> None:
    """Note what else lies beside the folders that are used."""
    for entry in folder.iterdir():
        if entry not in used:
            left_out[printable(entry)] = "hidden" if is_hidden(entry.name) else why
