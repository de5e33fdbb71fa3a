"""From bytes to a checked `ModelProto` and NumPy arrays. Every file counts as hostile until it is read.

What a file has in float16 or bfloat16 becomes float32, in which the engine computes.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.host.onnx.side_files import SideFiles
from alula.runtime.errors import DTypeError, ImportFileError, SourceError, require
from alula.runtime.files import check_file
from alula.runtime.graph import DTYPES, MAX_RANK, Array

if TYPE_CHECKING:
    import onnx

MAX_ELEMENTS = 2**31  # of one tensor; more is a damaged header, not a network for a Raspberry Pi
MAX_SPARSE_ELEMENTS = 2**26  # a few bytes of file can ask for any size
HALVES = ("float16", "bfloat16")


def load_model(source: str | Path | bytes | onnx.ModelProto) -> tuple[onnx.ModelProto, SideFiles, str]:
    """The model, where its side files may lie, and how errors call it.

    raise : ImportFileError if it is not an ONNX file, is truncated or is empty
    """
    onnx = require("onnx", "host", "reading an ONNX file")
    if isinstance(source, onnx.ModelProto):
        return source, SideFiles(), source.graph.name or "model"
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, files, where = bytes(source), SideFiles(), "model"
    else:
        path = Path(source)
        try:
            check_file(path)
            data = path.read_bytes()
        except SourceError as error:
            raise ImportFileError(str(error)) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise ImportFileError(
                f"{path}: expected a readable ONNX file, got {reason.lower()}; check the path"
            ) from None
        files, where = SideFiles(path), path.name
    return _parse(data, where), files, where


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
    _check_text(model, where)
    return model


def _check_text(message: Any, where: str) -> None:
    """Refuse names that are no text: protobuf hands them on as bytes."""
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_STRING:
            values = [value] if isinstance(value, (str, bytes)) else value
            if any(isinstance(text, bytes) for text in values):
                raise ImportFileError(
                    f"{where}: expected text in UTF-8 as {descriptor.name}, got other bytes; the file is damaged"
                )
        elif descriptor.type == descriptor.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "ListFields") else value:
                _check_text(part, where)


def onnx_name(elem_type: int) -> str:
    """What ONNX calls an element type, as NumPy writes it."""
    import onnx

    known: dict[int, str] = {v: k for k, v in onnx.TensorProto.DataType.items()}
    label = known.get(elem_type, f"type {elem_type}")
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(label, label.lower())


def dtype_name(elem_type: int, where: str) -> str:
    """NumPy's name of an ONNX element type.

    raise : DTypeError if the engine has no such dtype
    """
    name = onnx_name(elem_type)
    if name not in DTYPES:
        raise DTypeError(f"{where}: expected one of {', '.join(DTYPES)}, got {name}; convert the model to float32")
    return name


def working_dtype(elem_type: int, where: str) -> str:
    """The dtype in which we compute what a file has in an ONNX element type: float32 for halves, else the same.

    raise : DTypeError if the engine has no such dtype
    """
    return "float32" if onnx_name(elem_type) in HALVES else dtype_name(elem_type, where)


def is_tensor(info: onnx.ValueInfoProto) -> bool:
    """Whether the type of an input is one that we can hold."""
    name = onnx_name(info.type.tensor_type.elem_type) if info.type.HasField("tensor_type") else ""
    return name in DTYPES or name in HALVES


def sub_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs among a node's attributes: branches, bodies of loops."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def dense(tensor: onnx.TensorProto | onnx.SparseTensorProto, files: SideFiles, where: str) -> Array:
    """The array of a tensor, wherever its bytes are, dense or sparse."""
    import onnx

    if isinstance(tensor, onnx.SparseTensorProto):
        return _from_sparse(tensor, files, where)
    return to_array(tensor, files, where)


def _from_sparse(tensor: onnx.SparseTensorProto, files: SideFiles, where: str) -> Array:
    shape = _shape(tensor.dims, where)
    values, places = to_array(tensor.values, files, where), to_array(tensor.indices, files, where)
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


def to_array(tensor: onnx.TensorProto, files: SideFiles, where: str) -> Array:
    """The array of a dense tensor; halves become float32, which holds all their values.

    files : where side files may lie
    raise : ImportFileError if bytes are missing, DTypeError if the engine has no such dtype
    """
    import onnx

    label = f"{where}: tensor {tensor.name!r}"
    dtype = np.dtype(working_dtype(tensor.data_type, label))
    name = onnx_name(tensor.data_type)
    stored = np.dtype("uint16" if name == "bfloat16" else name)
    shape = _shape(tensor.dims, label)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        flat = np.frombuffer(files.read(tensor, math.prod(shape) * stored.itemsize, label), stored.newbyteorder("<"))
    elif tensor.HasField("raw_data"):
        expected = math.prod(shape) * stored.itemsize
        if len(tensor.raw_data) != expected:
            raise ImportFileError(
                f"{label}: expected {expected} bytes for {list(shape)} {name}, got {len(tensor.raw_data)}; the file is damaged"
            )
        flat = np.frombuffer(tensor.raw_data, stored.newbyteorder("<"))
    else:
        flat = _listed(tensor, stored, math.prod(shape), label)
    if name == "bfloat16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.astype(dtype).reshape(shape)


def _listed(tensor: onnx.TensorProto, stored: np.dtype[Any], size: int, label: str) -> Array:
    """Values that stand in the message as numbers."""
    import onnx

    try:
        if onnx_name(tensor.data_type) == "bfloat16":
            flat = np.asarray(tensor.int32_data, np.int64).astype(stored)
        else:
            flat = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor), stored).reshape(-1)
        if flat.size != size:
            raise ValueError(f"{flat.size} for {size}")
    except (ValueError, TypeError) as error:
        reason = str(error).split("\n")[0][:80]
        raise ImportFileError(
            f"{label}: expected {list(tensor.dims)} values, got others ({reason}); the file is damaged"
        ) from None
    return flat
