"""NPZ files: arrays x and y by name. An uncompressed array is mapped inside the archive."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from alula.runtime.data.dataset import Array, ArraySet, Dataset
from alula.runtime.errors import DataError, NoSplitError

CLASSES = "classes"
LOCAL_HEADER_BYTES = 30  # of a zip member, before its name and its extra field


def open_npz(path: Path, split: str, names: tuple[str, str] | None, layout: str) -> ArraySet:
    """One split of a file: `x_train`, `y_train` where there are such names, else `x` and `y`, and `classes` if it has them.

    names  : of x and y
    layout : NHWC or NCHW, of x
    raise  : DataError
    """
    if layout not in ("NHWC", "NCHW"):
        raise DataError(f"{path}: expected layout NHWC or NCHW, got {layout!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            usual = [(f"x_{split}", f"y_{split}")]
            if not any(f"x_{other}" in members for other in ("train", "test")):
                usual.append(("x", "y"))
            pairs = [names] if names else usual
            pair = next((pair for pair in pairs if pair[0] in members and pair[1] in members), None)
            if pair is None:
                raise NoSplitError(
                    f"{path}: expected arrays {' or '.join(' and '.join(pair) for pair in pairs)}, got "
                    f"{', '.join(members) or 'none'}; give names=(x, y)"
                )
            x, y = (_array(path, archive, archive.getinfo(members[name])) for name in pair)
            classes = _array(path, archive, archive.getinfo(members[CLASSES])) if CLASSES in members else None
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, struct.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: expected an .npz file of plain arrays, got {error}; write it again") from error
    if x.ndim == 3:
        x = x[..., None]
    elif x.ndim == 4 and layout == "NCHW":
        x = x.transpose(0, 2, 3, 1)
    return ArraySet(str(path), x, y, () if classes is None else [str(name) for name in classes])


def save_npz(data: Dataset, path: str | Path, batch: int = 256) -> int:
    """Write a set as one .npz file that can be mapped, in pieces; how many samples could be read and were written.

    A folder of images is then decoded once and not in every epoch.

    raise : DataError if no sample can be read
    """
    path, good = Path(path), np.zeros(len(data), bool)
    stored = np.empty((batch, *data.shape), data.dtype)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        # The header of x needs the number of images that can be read: one pass to count them, one to write
        for start in range(0, len(data), batch):
            index = np.arange(start, min(start + batch, len(data)))
            good[index] = data.read(index, stored[: len(index)])
        kept = np.flatnonzero(good)
        if not len(kept):
            raise DataError(f"{data.name}: expected samples that can be read, got none of {len(data)}; check the files")
        with archive.open("x.npy", "w", force_zip64=True) as file:
            header = {
                "descr": npy.dtype_to_descr(data.dtype), "fortran_order": False, "shape": (len(kept), *data.shape),
            }  # fmt: skip
            npy.write_array_header_1_0(file, header)
            for start in range(0, len(kept), batch):
                index = kept[start : start + batch]
                data.read(index, stored[: len(index)])
                file.write(stored[: len(index)].tobytes())
        for name, array in (("y", data.labels[kept]), (CLASSES, np.array(data.classes, np.str_))):
            with archive.open(f"{name}.npy", "w") as file:
                npy.write_array(file, array, allow_pickle=False)
    return len(kept)


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as file:
        if member.compress_type != zipfile.ZIP_STORED:
            compressed: Array = npy.read_array(file, allow_pickle=False)
            return compressed
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
        start = file.tell()
    if dtype.hasobject:
        raise DataError(f"{path}: expected plain numbers in {member.filename}, got objects; save it with another dtype")
    with path.open("rb") as raw:
        raw.seek(member.header_offset)
        local = raw.read(LOCAL_HEADER_BYTES)
    name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
    start += member.header_offset + LOCAL_HEADER_BYTES + name_bytes + extra_bytes
    count = int(np.prod(shape, dtype=np.int64))
    if start + count * dtype.itemsize > path.stat().st_size:
        raise DataError(f"{path}: expected {shape} in {member.filename}, got a file that ends before; write it again")
    order: Any = "F" if fortran else "C"
    return np.memmap(path, dtype, "r", start, shape, order) if count else np.empty(shape, dtype)
