"""Open a data set: recognise the format of a path, and return one split."""

from __future__ import annotations

from pathlib import Path

from alula.runtime.data.cifar import find_cifar, open_cifar
from alula.runtime.data.dataset import Dataset, check_classes
from alula.runtime.data.folder import KEEP_BYTES, ImageSet, find_images, open_images
from alula.runtime.data.idx import find_idx, open_idx
from alula.runtime.data.listing import visible_folders
from alula.runtime.data.npz import open_npz
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.data.seen_as import ReversedChannels
from alula.runtime.errors import DataError, NoSplitError, SourceError
from alula.runtime.files import printable

SPLITS = ("train", "test")
FORMATS = "a folder of class folders, CIFAR binary files, idx files or an .npz file"


def open_data(
    path: str | Path,
    split: str = "train",
    *,
    n_classes: int | None = None,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    keep_bytes: int = KEEP_BYTES,
    alpha: str = "white",
    names: tuple[str, str] | None = None,
    layout: str = "NHWC",
    labels: str = "fine",
    images: Preprocessing | None = None,
) -> Dataset:
    """Open a folder of class folders, CIFAR-10/100 binary files, MNIST-like idx files, or an .npz file; see docs/data.md.

    split      : train or test
    n_classes  : outputs of the network, to refuse labels that it has no output for
    size       : (H, W) to which images of a folder are scaled; None: all have the size of the first
    channels   : 3 (RGB) or 1 (grey), of a folder's images
    keep_bytes : a folder's decoded images stay in memory if all of them need no more than this
    alpha      : white, black or drop: what a folder's transparent images are laid over
    names      : of x and y in an .npz file; None: the usual ones
    layout     : NHWC or NCHW, of x in an .npz file
    labels     : fine or coarse, of CIFAR-100
    images     : in place of size and channels: what a network expects, its colours and how images reach its size
    return     : uint8 images (H, W, C), except where an .npz file holds something else
    raise      : SourceError if the path cannot be read, DataError if what it holds cannot be trained on
    """
    place, path = Path(path), printable(path)
    if split not in SPLITS:
        raise DataError(f"{path}: expected split {' or '.join(SPLITS)}, got {split!r}")
    try:
        data = _open(place, split, images or (size, channels), keep_bytes, alpha, names, layout, labels)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"{path}: expected a readable data set, got {error.strerror or error}; check the path"
        ) from error
    check_classes(data, n_classes, complete=split == "train")
    if images and images.colour == "bgr" and not isinstance(data, ImageSet):
        return ReversedChannels(data)
    return data


def _plain(path: str, size: tuple[int, int] | None, channels: int) -> Preprocessing:
    if channels not in (1, 3) or (size is not None and min(size) < 1):
        raise DataError(f"{path}: expected 1 or 3 channels and a size from 1x1, got channels {channels}, size {size}")
    return Preprocessing(colour="rgb" if channels == 3 else "grey", size=size)


def _open(
    path: Path,
    split: str,
    how: Preprocessing | tuple[tuple[int, int] | None, int],
    keep_bytes: int,
    alpha: str,
    names: tuple[str, str] | None,
    layout: str,
    labels: str,
) -> Dataset:
    if not path.exists():
        raise SourceError(f"{printable(path)}: expected a data set, got no such file or folder; check the path")
    if path.is_file():
        if path.suffix == ".npz":
            return open_npz(path, split, names, layout)
        if path.suffix in (".gz", ".tgz", ".tar", ".zip", ".bz2", ".xz"):
            raise DataError(f"{printable(path)}: expected {FORMATS}, got an archive; unpack it and give the folder")
        raise DataError(
            f"{printable(path)}: expected {FORMATS}, got another file; for CIFAR and idx files give their folder"
        )
    for folder in (path, *visible_folders(path).values()):
        if find_cifar(folder):
            return open_cifar(folder, split, labels)
        if find_idx(folder):
            return open_idx(folder, split)
    archive = path / f"{split}.npz"
    if archive.is_file():
        return open_npz(archive, split, names, layout)
    if any((path / f"{other}.npz").is_file() for other in SPLITS):
        raise NoSplitError(f"{printable(archive)}: expected this file beside that of the other split, got none; add it")
    if find_images(path):
        if not isinstance(how, Preprocessing):
            how = _plain(printable(path), *how)
        return open_images(path, split, how, keep_bytes, alpha)
    if any(path.glob("data_batch_[1-5]")):
        raise DataError(
            f"{printable(path)}: expected CIFAR's binary version, got its pickled one; download cifar-10-binary.tar.gz"
        )
    raise DataError(f"{printable(path)}: expected {FORMATS}, got nothing of the kind in this folder; check the path")
