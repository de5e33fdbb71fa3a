"""Weights from a PyTorch checkpoint (`.pth`), without PyTorch and without executing its pickle.

Since 1.6 such a file is a zip archive: `<name>/data.pkl` describes the tensors, `<name>/data/<key>` are their bytes.
Older files are a row of pickles (magic number, version, machine, tensors, storage keys) and then, per key, a count of
elements (int64) and their bytes. In both, the pickle may make only ordered dictionaries and tensors here; any other name in
it is refused.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.errors import ImportFileError
from alula.runtime.files import check_file
from alula.runtime.graph import Array

MAX_BYTES = 1 << 30  # of one storage, unpacked
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, IndexError, OverflowError, MemoryError,
          NotImplementedError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError)  # fmt: skip


@dataclass(frozen=True)
class _Storage:
    """Bytes that are somewhere in the file."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; strides are in elements and may skip or transpose axes."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def load_torch_weights(path: str | Path) -> dict[str, Array]:
    """The tensors of a checkpoint by name.

    raise : ImportFileError if it is not such a file, is damaged, or its pickle asks for anything but tensors
    """
    path = Path(path)
    check_file(path)
    try:
        state, storages = _zipped(path) if zipfile.is_zipfile(path) else _legacy(path)
        if not isinstance(state, dict):
            raise ValueError(f"a {type(state).__name__}")
        return {str(name): _view(value, storages) for name, value in state.items() if isinstance(value, _Tensor)}
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImportFileError(
            f"{path}: expected a PyTorch checkpoint of tensors by name, got {reason}; save a state_dict"
        ) from None


def _zipped(path: Path) -> tuple[Any, dict[str, Array]]:
    with zipfile.ZipFile(path) as archive:
        (entry,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = entry.removesuffix("data.pkl")
        unpickler = _Unpickler(io.BytesIO(archive.read(entry)))
        state = unpickler.load()
        storages = {}
        for key, storage in unpickler.storages.items():
            info = archive.getinfo(f"{folder}data/{key}")
            if info.file_size != storage.count * storage.dtype.itemsize or info.file_size > MAX_BYTES:
                raise ValueError(f"{info.file_size} bytes for a storage of {storage.count} {storage.dtype}")
            storages[key] = np.frombuffer(archive.read(info), storage.dtype)
    return state, storages


def _legacy(path: Path) -> tuple[Any, dict[str, Array]]:
    stream = io.BytesIO(path.read_bytes())
    if _Unpickler(stream).load() != LEGACY_MAGIC:
        raise ValueError("another magic number")
    for _ in ("protocol version", "machine"):
        _Unpickler(stream).load()
    unpickler = _Unpickler(stream)
    state, keys = unpickler.load(), _Unpickler(stream).load()
    storages = {}
    for key in keys:
        storage = unpickler.storages[key]
        count = int.from_bytes(stream.read(8), "little")
        data = stream.read(storage.count * storage.dtype.itemsize)
        if count != storage.count:
            raise ValueError(f"{count} elements for a storage of {storage.count}")
        storages[key] = np.frombuffer(data, storage.dtype, count)
    return state, storages


class _Unpickler(pickle.Unpickler):
    """Makes tensors and ordered dictionaries, nothing else."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGES:
            return np.dtype(STORAGES[name])
        raise pickle.UnpicklingError(f"{module}.{name} in its pickle")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, count, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view) or not 0 <= count <= MAX_BYTES:
            raise pickle.UnpicklingError(f"a {kind} where a storage should be")
        return self.storages.setdefault(str(key), _Storage(str(key), dtype, int(count)))


def _tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


def _view(tensor: _Tensor, storages: dict[str, Array]) -> Array:
    """The tensor's elements, in order."""
    flat, size, stride = storages[tensor.storage.key], tensor.size, tensor.stride
    if len(size) != len(stride) or tensor.offset < 0 or min((*size, *stride), default=0) < 0:
        raise ValueError(f"size {size} with stride {stride}")
    if 0 in size:
        return np.zeros(size, flat.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(size, stride))
    if last >= flat.size or int(np.prod(size, dtype=object)) > flat.size:
        raise ValueError(f"size {size} with stride {stride} beyond its storage of {flat.size}")
    steps = [step * flat.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], size, steps).copy()
