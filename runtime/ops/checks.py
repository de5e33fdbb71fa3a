"""Checks that many ops share: required inputs, dtypes, ranks, axes, vectors of one value per channel.

Each raises without the node's label; `contract.infer` puts it in front.
"""

from __future__ import annotations

from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.contract import Specs, Values

FLOATS = ("float32", "float16", "float64")


def given(specs: Specs, index: int, name: str) -> TensorSpec:
    """The spec of an input that must be there."""
    spec = specs[index] if index < len(specs) else None
    if spec is None:
        raise ShapeError(f"expected input {name} (number {index}), got none; connect it")
    return spec


def optional(specs: Specs, index: int) -> TensorSpec | None:
    """The spec of an input that may be absent."""
    return specs[index] if index < len(specs) else None


def known(values: Values, index: int) -> Array | None:
    """The value of an input, if it is known when the program is planned; an empty one counts as absent."""
    value = values[index] if index < len(values) else None
    return None if value is None or value.size == 0 else value


def one_of(name: str, spec: TensorSpec, dtypes: tuple[str, ...]) -> None:
    """raise : DTypeError unless the tensor has one of these dtypes"""
    if spec.dtype not in dtypes:
        raise DTypeError(f"expected {name} to be {' or '.join(dtypes)}, got {spec.dtype}; cast it")


def same_dtype(first: TensorSpec, **others: TensorSpec | None) -> None:
    """raise : DTypeError unless every tensor that is there has the first one's dtype"""
    for name, spec in others.items():
        if spec is not None and spec.dtype != first.dtype:
            raise DTypeError(f"expected {name} to be {first.dtype} as the input is, got {spec.dtype}; cast one of them")


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


def show(dims: tuple[int | str, ...]) -> str:
    """A shape as errors write it."""
    return f"({dims[0]},)" if len(dims) == 1 else f"({', '.join(map(str, dims))})"
