"""MNIST's idx files: a big-endian header, then bytes. Plain files are mapped, compressed files unpacked into memory.

source : http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from alula.runtime.data.dataset import Array, ArraySet
from alula.runtime.errors import DataError, SourceError

PREFIXES = {"train": ("train",), "test": ("t10k", "test")}
UNSIGNED_BYTE = 8  # third byte of a file: the only type that MNIST and its relatives use
MAX_BYTES = 1 << 32  # of a compressed file's content: a header is not to be trusted with more


def find_idx(folder: Path) -> bool:
    """Whether a folder has idx files."""
    return any(_file(folder, split, "images", 3) for split in PREFIXES)


def open_idx(folder: Path, split: str) -> ArraySet:
    """One split: images (N, H, W, 1) uint8 and their labels."""
    images, labels = _file(folder, split, "images", 3), _file(folder, split, "labels", 1)
    if images is None or labels is None:
        missing = "images-idx3" if images is None else "labels-idx1"
        raise SourceError(
            f"{folder}: expected {PREFIXES[split][0]}-{missing}-ubyte or the same with .gz, got no such file; add it"
        )
    return ArraySet(str(folder), read_idx(images, 3)[..., None], read_idx(labels, 1))


def read_idx(path: Path, ndim: int) -> Array:
    """The array in an idx file of unsigned bytes, mapped unless it is compressed.

    raise : DataError if it is not such a file, or not whole
    """
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            header = file.read(4 + 4 * ndim)
            if len(header) < 4 + 4 * ndim or header[:4] != bytes((0, 0, UNSIGNED_BYTE, ndim)):
                raise DataError(
                    f"{path}: expected an idx file of unsigned bytes in {ndim} dimensions, got one that begins with "
                    f"{header[:4].hex(' ') or 'nothing'}; is it another file?"
                )
            shape = struct.unpack(f">{ndim}I", header[4:])
            size = math.prod(shape)
            if not packed:
                found = path.stat().st_size - len(header)
                if found != size or not size:
                    raise _wrong_size(path, shape, size, found)
                return np.memmap(path, np.uint8, "r", len(header), shape)
            if size > MAX_BYTES or not size:
                raise DataError(f"{path}: expected 1 to {MAX_BYTES} bytes of data, got {shape}; the header is damaged")
            content = file.read(size)
            if len(content) != size or file.read(1):
                raise _wrong_size(path, shape, size, len(content) if len(content) != size else size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: expected a whole gzip file, got {error}; download it again") from error
    return np.frombuffer(content, np.uint8).reshape(shape)


def _wrong_size(path: Path, shape: tuple[int, ...], size: int, found: int) -> DataError:
    return DataError(
        f"{path}: expected {size} bytes for its shape {'x'.join(map(str, shape))}, got {found}; the file is damaged: "
        "download it again"
    )


def _file(folder: Path, split: str, what: str, ndim: int) -> Path | None:
    for prefix in PREFIXES[split]:
        for joint in ("-", "."):
            for suffix in ("", ".gz"):
                path = folder / f"{prefix}-{what}{joint}idx{ndim}-ubyte{suffix}"
                if path.is_file():
                    return path
    return None
