"""Operands of element-wise and shape ops: dtypes, broadcasting, lists of integers that decide shapes, size limits.

All raise ShapeError or DTypeError without the node's label; `contract.infer` adds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import DTYPES, MAX_RANK, Array, TensorSpec
from alula.runtime.ops.checks import FLOATS, axis_of

SIGNED = (*FLOATS, "int8", "int16", "int32", "int64")
NUMBERS = (*SIGNED, "uint8", "uint16", "uint32", "uint64")
INDICES = ("int64", "int32")
BOOL = ("bool",)
ANY = DTYPES

MANY = 65_535  # maximum number of inputs of a variadic op
MAX_BYTES = 1 << 32  # of one tensor; more is a damaged or hostile file, not a network for a small board

T = TypeVar("T")


def at(items: Sequence[T | None], index: int) -> T | None:
    """The input of that index; None if it is absent, left out at the end of the list or in the middle of it."""
    return items[index] if index < len(items) else None


def need(specs: Sequence[TensorSpec | None], index: int, allowed: tuple[str, ...] = ANY) -> TensorSpec:
    """The spec of an input that must be there, with one of the allowed dtypes."""
    spec = at(specs, index)
    if spec is None:
        raise ShapeError(f"expected input {index} to be given, got none; connect it")
    if spec.dtype not in allowed:
        raise DTypeError(f"expected input {index} to be {' or '.join(allowed)}, got {spec.dtype}; cast it first")
    return spec


def need_same_dtype(specs: Sequence[TensorSpec | None], indices: Iterable[int], allowed: tuple[str, ...] = ANY) -> str:
    """The one dtype of these inputs, all of which must be there."""
    found = [need(specs, index, allowed).dtype for index in indices]
    if len(set(found)) > 1:
        raise DTypeError(f"expected inputs of one dtype, got {', '.join(found)}; cast them to one")
    return found[0]


def tensor(dims: Iterable[int], dtype: str) -> TensorSpec:
    """The spec of an output, within the limits of rank and size."""
    spec = TensorSpec(tuple(dims), dtype)
    if len(spec.shape) > MAX_RANK:
        raise ShapeError(f"expected an output of at most {MAX_RANK} dimensions, got {len(spec.shape)}; reshape it")
    if spec.nbytes > MAX_BYTES:
        raise ShapeError(f"expected an output of at most {MAX_BYTES:,} bytes, got {spec}; correct the sizes")
    return spec


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all shapes broadcast to: aligned at the last axis, 1 stretches."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    out = []
    for sizes in zip(*padded, strict=True):
        wanted = set(sizes) - {1}
        if len(wanted) > 1:
            raise ShapeError(
                f"expected shapes that broadcast, got {' and '.join(map(str, shapes))}; "
                "the sizes of an axis must be equal or 1"
            )
        out.append(wanted.pop() if wanted else 1)
    return tuple(out)


def axes_of(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Distinct axes counted from the front, in the order given."""
    found = tuple(axis_of(axis, rank) for axis in axes)
    if len(set(found)) < len(found):
        raise ShapeError(f"expected distinct axes, got {found}; remove the repeated ones")
    return found


def integers(value: Array) -> tuple[int, ...]:
    """The integers of a list (or a scalar) in a tensor."""
    return tuple(int(item) for item in value.reshape(-1))


def known(values: Sequence[Array | None], index: int, name: str) -> tuple[int, ...]:
    """The integers of an input that decides a shape."""
    value = at(values, index)
    if value is None:
        raise ShapeError(
            f"expected {name} to be known when the program is planned, got a computed one; fix it at export"
        )
    if value.ndim > 1 or value.dtype.kind not in "iu":
        raise ShapeError(f"expected {name} to be a list of integers, got {TensorSpec.of(value)}; correct the model")
    return integers(value)


def known_if_given(
    specs: Sequence[TensorSpec | None], values: Sequence[Array | None], index: int, name: str
) -> tuple[int, ...] | None:
    """The integers of an optional input that decides a shape; None if it is absent."""
    return None if at(specs, index) is None else known(values, index, name)


def choice(value: Any, choices: tuple[Any, ...], name: str) -> None:
    """Refuse an attribute that is none of the choices."""
    if value not in choices:
        raise ShapeError(f"expected {name} to be one of {choices}, got {value!r}; correct the model")
