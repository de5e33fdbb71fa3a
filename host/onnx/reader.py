"""From bytes to a checked `ModelProto` and NumPy arrays. Every file counts as hostile until it is read.

Weights in side files are read only from inside the model's own folder, and only as many bytes as the file has.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.runtime.errors import DTypeError, ImportFileError, require
from alula.runtime.graph import DTYPES, MAX_RANK, Array

if TYPE_CHECKING:
    import onnx

MAX_ELEMENTS = 2**31  # of one tensor; more is a damaged header, not a network for a Raspberry Pi
MAX_SPARSE_ELEMENTS = 2**26  # a few bytes of file can ask for any size


def load_model(source: str | Path | bytes | onnx.ModelProto) -> tuple[onnx.ModelProto, Path | None, str]:
    """The model, the folder its side files may lie in, and how errors call it.

    raise : ImportFileError if it is not an ONNX file, is truncated or is empty
    """
    onnx = require("onnx", "host", "reading an ONNX file")
    if isinstance(source, onnx.ModelProto):
        return source, None, source.graph.name or "model"
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, folder, where = bytes(source), None, "model"
    else:
        path = Path(source)
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ImportFileError(
                f"{path}: expected a readable ONNX file, got {reason.lower()}; check the path"
            ) from None
        folder, where = path.resolve().parent, path.name
    return _parse(data, where), folder, where


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    import onnx

    decode_error = importlib.import_module("google.protobuf.message").DecodeError  # it has no type stubs
    if not data:
        raise ImportFileError(f"{where}: expected an ONNX file, got an empty one; export the model again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (decode_error, RuntimeError, ValueError):
        raise ImportFileError(
            f"{where}: expected an ONNX file, got {len(data)} bytes that are not one or stop too early; export it again"
        ) from None
    if not model.HasField("graph") or not model.ir_version:
        raise ImportFileError(
            f"{where}: expected an ONNX file with a graph, got one without; it is another format or truncated"
        )
    return model


def dtype_name(elem_type: int, where: str) -> str:
    """NumPy's name of an ONNX element type.

    raise : DTypeError if the engine has no such dtype
    """
    import onnx

    known: dict[int, str] = {v: k for k, v in onnx.TensorProto.DataType.items()}
    label = known.get(elem_type, f"type {elem_type}")
    name: str = {"FLOAT": "float32", "DOUBLE": "float64"}.get(label, label.lower())
    if name not in DTYPES:
        raise DTypeError(f"{where}: expected one of {', '.join(DTYPES)}, got {name}; convert the model to float32")
    return name


def dense(tensor: onnx.TensorProto | onnx.SparseTensorProto, folder: Path | None, where: str) -> Array:
    """The array of a tensor, wherever its bytes are, dense or sparse."""
    import onnx

    if isinstance(tensor, onnx.SparseTensorProto):
        return _from_sparse(tensor, folder, where)
    return to_array(tensor, folder, where)


def _from_sparse(tensor: onnx.SparseTensorProto, folder: Path | None, where: str) -> Array:
    shape = _shape(tensor.dims, where)
    values, places = to_array(tensor.values, folder, where), to_array(tensor.indices, folder, where)
    try:
        if values.ndim != 1 or len(places) != len(values) or math.prod(shape) > MAX_SPARSE_ELEMENTS:
            raise ValueError
        flat = places if places.ndim == 1 else np.ravel_multi_index(tuple(places.T), shape)
        out = np.zeros(shape, values.dtype)
        out.put(flat, values)
    except (ValueError, IndexError, TypeError):
        raise ImportFileError(
            f"{where}: expected one index a value, inside {shape}, got others; the file is damaged"
        ) from None
    return out


def _shape(dims: Any, where: str) -> tuple[int, ...]:
    shape = tuple(int(d) for d in dims)
    if any(d < 0 for d in shape) or len(shape) > MAX_RANK or math.prod(shape) > MAX_ELEMENTS:
        raise ImportFileError(
            f"{where}: expected at most {MAX_RANK} dimensions and {MAX_ELEMENTS} elements, got {list(shape)[:12]}; "
            "the file is damaged or too big"
        )
    return shape


def to_array(tensor: onnx.TensorProto, folder: Path | None, where: str) -> Array:
    """The array of a dense tensor.

    folder : where side files may lie, or None if they cannot (the model came as bytes)
    raise  : ImportFileError if bytes are missing, DTypeError if the engine has no such dtype
    """
    import onnx

    label = f"{where}: tensor {tensor.name!r}"
    dtype = np.dtype(dtype_name(tensor.data_type, label))
    shape = _shape(tensor.dims, label)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _side_file(tensor, dtype, shape, folder, label)
    if tensor.HasField("raw_data"):
        expected = math.prod(shape) * dtype.itemsize
        if len(tensor.raw_data) != expected:
            raise ImportFileError(
                f"{label}: expected {expected} bytes for {list(shape)} {dtype}, got {len(tensor.raw_data)}; the file is damaged"
            )
        return np.frombuffer(tensor.raw_data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    try:
        return np.ascontiguousarray(onnx.numpy_helper.to_array(tensor), dtype).reshape(shape)
    except (ValueError, TypeError) as error:
        reason = str(error).split("\n")[0]
        raise ImportFileError(
            f"{label}: expected {list(shape)} values, got others ({reason}); the file is damaged"
        ) from None


def _side_file(
    tensor: onnx.TensorProto, dtype: np.dtype[Any], shape: tuple[int, ...], folder: Path | None, label: str
) -> Array:
    entries: Mapping[str, str] = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ImportFileError(
            f"{label}: expected its values in the model, got a reference to the file {location!r}; import from a path"
        )
    path = (folder / location).resolve()
    if not location or not path.is_relative_to(folder) or not path.is_file():
        raise ImportFileError(f"{label}: expected a file inside the model's folder, got {location!r}; put it there")
    n_bytes = math.prod(shape) * dtype.itemsize
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(n_bytes)))
    except ValueError:
        raise ImportFileError(
            f"{label}: expected whole numbers for offset and length, got others; the file is damaged"
        ) from None
    if offset < 0 or length != n_bytes or offset + length > path.stat().st_size:
        raise ImportFileError(
            f"{label}: expected {n_bytes} bytes at {offset} of {location}, got a length of {length} in a file of "
            f"{path.stat().st_size}; the file is damaged"
        )
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(n_bytes)
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
