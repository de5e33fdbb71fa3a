"""Einsum: sums of products over named axes. `expand.py` writes it as matrix products."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alula.runtime.errors import GraphError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import WEIGHT, Operand

DOTS = "..."


@frozen
class EinsumAttrs:
    """equation : as in NumPy, "bij,bjk->bik": a letter an axis, "..." for any axes before them; spaces say nothing"""

    equation: str


def terms(equation: str, ranks: Sequence[int | None]) -> tuple[list[str], str]:
    """The axes of each operand and of the result, one character each; what "..." stands for gets characters of its own.

    raise : GraphError or ShapeError if the equation does not fit these ranks
    """
    text = "".join(equation.split())
    left, arrow, right = text.partition("->")
    given = left.split(",")
    plain = [term.replace(DOTS, "") for term in (*given, right)]
    if not all(c.isascii() and c.isalpha() for term in plain for c in term) or any(
        term.count(DOTS) > 1 for term in (*given, right)
    ):
        raise GraphError(
            f"expected an equation of letters, commas, '...' and '->', got {equation[:60]!r}; export the model again"
        )
    if len(given) != len(ranks):
        raise GraphError(f"expected {len(given)} inputs for {equation[:60]!r}, got {len(ranks)}; the file is damaged")
    widths = []
    for term, rank in zip(given, ranks, strict=True):
        letters = len(term.replace(DOTS, ""))
        width = letters if rank is None else rank
        if width < letters or (DOTS not in term and width != letters):
            raise ShapeError(f"expected {term[:60]!r} to name all axes, got {rank} dimensions; check the equation")
        widths.append(width - letters)
    dots = "".join(chr(0x100 + i) for i in range(max(widths)))
    inputs = [term.replace(DOTS, dots[len(dots) - width :]) for term, width in zip(given, widths, strict=True)]
    if not arrow:  # the axes that occur once, in the order of the alphabet
        every = "".join(plain[:-1])
        right = DOTS + "".join(sorted(c for c in set(every) if every.count(c) == 1))
    output = right.replace(DOTS, dots)
    if len(set(output)) < len(output) or not set(output) <= set("".join(inputs)):
        raise GraphError(
            f"expected an output of distinct axes of the inputs, got {equation[:60]!r}; export the model again"
        )
    return inputs, output


def sizes_of(inputs: Sequence[str], dims: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """The size of each axis; one of 1 is broadcast. raise : ShapeError if two do not fit"""
    sizes: dict[str, int] = {}
    for term, shape in zip(inputs, dims, strict=True):
        for axis, size in zip(term, shape, strict=True):
            known = sizes.setdefault(axis, size)
            if known == 1:
                sizes[axis] = size
            elif size not in (1, known):
                raise ShapeError(
                    f"expected axes of one name to have one size, got {known} and {size}; check the equation"
                )
    return sizes


def _infer(attrs: EinsumAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    given = [checks.given(specs, index, dtypes=checks.NUMBERS) for index in range(len(specs))]
    checks.same_dtype(given[0], **{f"input {i}": spec for i, spec in enumerate(given)})
    inputs, output = terms(attrs.equation, [len(spec.dims) for spec in given])
    sizes = sizes_of(inputs, [spec.dims for spec in given])
    return (checks.tensor([sizes[axis] for axis in output], given[0].dtype),)


def einsum(attrs: EinsumAttrs, *operands: Array) -> tuple[Array]:
    """The sum over all axes that the result lacks of the products of all operands.

    operands : of one dtype; the equation names their axes
    return   : the axes that the equation names on its right side, in that order
    raise    : GraphError or ShapeError if the equation does not fit
    source : ONNX Einsum-12; float16 is summed in float32
    """
    dtype = operands[0].dtype
    wide = [x.astype(np.float32) if dtype == np.float16 else x for x in operands]
    inputs, output = terms(attrs.equation, [x.ndim for x in operands])
    number = {axis: i for i, axis in enumerate(dict.fromkeys("".join(inputs)))}
    arguments: list[Any] = []
    for x, term in zip(wide, inputs, strict=True):
        arguments += [x, [number[axis] for axis in term]]
    return (np.asarray(np.einsum(*arguments, [number[axis] for axis in output])).astype(dtype),)


def _macs(attrs: EinsumAttrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    given = [checks.given(specs, index) for index in range(len(specs))]
    inputs, _ = terms(attrs.equation, [len(spec.dims) for spec in given])
    return math.prod(sizes_of(inputs, [spec.dims for spec in given]).values()) if len(given) > 1 else 0


def _rank(attrs: Mapping[str, Any], ranks: Sequence[int | None], lengths: Sequence[int | None]) -> int | None:
    if None in ranks and DOTS in str(attrs["equation"]):
        return None
    return len(terms(str(attrs["equation"]), ranks)[1])


register(
    Op("Einsum", _infer, einsum, EinsumAttrs, n_inputs=(1, checks.MANY), macs=_macs, rank=_rank,
       operands={0: Operand(WEIGHT), 1: Operand(WEIGHT)}),
)  # fmt: skip
