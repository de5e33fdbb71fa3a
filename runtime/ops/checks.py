"""Checks that many ops share: inputs that must be there, dtypes, axes, broadcasting, what decides shapes, limits of size.

Each raises ShapeError or DTypeError without the node's label; `contract.infer` puts it in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import DTYPES, MAX_RANK, Array, TensorSpec
from alula.runtime.ops.contract import Specs, Values

FLOATS = ("float32", "float16", "float64")
SIGNED = (*FLOATS, "int8", "int16", "int32", "int64")
NUMBERS = (*SIGNED, "uint8", "uint16", "uint32", "uint64")
INDICES = ("int64", "int32")
BOOL = ("bool",)
ANY = DTYPES

MANY = 65_535  # the most inputs of a variadic op
MAX_BYTES = 1 << 32  # of one tensor; more is a damaged or hostile file, not a network for a small board

T = TypeVar("T")


# Inputs and their dtypes


def optional(items: Sequence[T | None], index: int) -> T | None:
    """The spec or value of an input; None if it is absent, left out at the end of the list or in the middle of it."""
    return items[index] if index < len(items) else None


def given(specs: Specs, index: int, name: str = "", dtypes: tuple[str, ...] = ANY) -> TensorSpec:
    """The spec of an input that must be there, with one of these dtypes; errors call it by its name if it has one."""
    spec = optional(specs, index)
    if spec is None:
        missing = f"input {name} (number {index})" if name else f"input {index} to be given"
        raise ShapeError(f"expected {missing}, got none; connect it")
    one_of(name or f"input {index}", spec, dtypes, "cast it first")
    return spec


def one_of(name: str, spec: TensorSpec, dtypes: tuple[str, ...], advice: str = "cast it") -> None:
    """raise : DTypeError unless the tensor has one of these dtypes"""
    if spec.dtype not in dtypes:
        raise DTypeError(f"expected {name} to be {' or '.join(dtypes)}, got {spec.dtype}; {advice}")


def same_dtype(first: TensorSpec, **others: TensorSpec | None) -> None:
    """raise : DTypeError unless every tensor that is there has the first one's dtype"""
    for name, spec in others.items():
        if spec is not None and spec.dtype != first.dtype:
            raise DTypeError(f"expected {name} to be {first.dtype} as the input is, got {spec.dtype}; cast one of them")


def common_dtype(specs: Specs, indices: Iterable[int], dtypes: tuple[str, ...] = ANY) -> str:
    """The one dtype of these inputs, all of which must be there."""
    found = [given(specs, index, dtypes=dtypes).dtype for index in indices]
    if len(set(found)) > 1:
        raise DTypeError(f"expected inputs of one dtype, got {', '.join(found)}; cast them to one")
    return found[0]


# Values


def known(values: Values, index: int) -> Array | None:
    """The value of an input, if it is known when the program is planned; an empty one counts as absent."""
    value = optional(values, index)
    return None if value is None or value.size == 0 else value


def known_integers(values: Values, index: int, name: str) -> tuple[int, ...]:
    """The integers of an input that decides a shape; there may be none of them, but they must be known."""
    value = optional(values, index)
    if value is None:
        raise ShapeError(
            f"expected {name} to be known when the program is planned, got a computed one; fix it at export"
        )
    if value.ndim > 1 or value.dtype.kind not in "iu":
        raise ShapeError(f"expected {name} to be a list of integers, got {TensorSpec.of(value)}; correct the model")
    return integers(value)


def optional_integers(specs: Specs, values: Values, index: int, name: str) -> tuple[int, ...] | None:
    """The integers of an optional input that decides a shape; None if it is absent."""
    return None if optional(specs, index) is None else known_integers(values, index, name)


def integers(value: Array) -> tuple[int, ...]:
    """The integers of a list (or a scalar) in a tensor."""
    return tuple(int(item) for item in value.reshape(-1))


def choice(value: Any, choices: tuple[Any, ...], name: str) -> None:
    """Refuse an attribute that is none of the choices."""
    if value not in choices:
        raise ShapeError(f"expected {name} to be one of {choices}, got {value!r}; correct the model")


# Shapes and axes


def vector(name: str, spec: TensorSpec | None, size: int, meaning: str) -> None:
    """raise : ShapeError unless the tensor is absent or (size,)"""
    if spec is not None and spec.dims != (size,):
        raise ShapeError(f"expected {name} ({size},), {meaning}, got {show(spec.dims)}; check the model")


def spatial(x: TensorSpec) -> tuple[int, ...]:
    """The spatial sizes of a channels-last input (N, *spatial, C)."""
    if len(x.dims) < 3:
        raise ShapeError(f"expected input (N, *spatial, C), got {show(x.dims)}; reshape it to three dimensions or more")
    return x.dims[1:-1]


def axis_of(axis: int, rank: int) -> int:
    """An axis, counted from the front.

    raise : ShapeError if the tensor has no such axis
    """
    if not -rank <= axis < rank:
        raise ShapeError(f"expected an axis from {-rank} to {rank - 1}, got {axis}; the input has {rank} dimensions")
    return axis % rank


def axes_of(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Distinct axes counted from the front, in the order given."""
    found = tuple(axis_of(axis, rank) for axis in axes)
    if len(set(found)) < len(found):
        raise ShapeError(f"expected distinct axes, got {found}; remove the repeated ones")
    return found


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


def tensor(dims: Iterable[int], dtype: str) -> TensorSpec:
    """The spec of an output, within the limits of rank and size."""
    spec = TensorSpec(tuple(dims), dtype)
    if len(spec.shape) > MAX_RANK:
        raise ShapeError(f"expected an output of at most {MAX_RANK} dimensions, got {len(spec.shape)}; reshape it")
    if spec.nbytes > MAX_BYTES:
        raise ShapeError(f"expected an output of at most {MAX_BYTES:,} bytes, got {spec}; correct the sizes")
    return spec


def show(dims: tuple[int | str, ...]) -> str:
    """A shape as errors write it."""
    return f"({dims[0]},)" if len(dims) == 1 else f"({', '.join(map(str, dims))})"
