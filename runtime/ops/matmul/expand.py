"""Einsum as matrix products, two operands at a time, from the left."""

from __future__ import annotations

import math

from alula.runtime.ops.checks import given
from alula.runtime.ops.matmul.op import NUMBERS
from alula.runtime.ops.matmul.op_einsum import sizes_of, terms
from alula.runtime.planning.expansion import Expansion, expands


@expands("Einsum")
def einsum(parts: Expansion) -> str | None:
    """Axes that only one operand has are summed first; those that both have and the result lacks are K of a MatMul."""
    specs = [given(parts.specs, index) for index in range(len(parts.specs))]
    inputs, output = terms(parts.node.attrs.equation, [len(spec.dims) for spec in specs])
    sizes = sizes_of(inputs, [spec.dims for spec in specs])
    diagonal = any(len(set(term)) < len(term) for term in inputs)
    if diagonal or 0 in sizes.values() or specs[0].dtype not in NUMBERS:
        return None
    work = _Product(parts, sizes, output)
    x, axes = "", ""
    for index, (name, term) in enumerate(zip(parts.node.inputs, inputs, strict=True)):
        name, term = work.without_ones(name, term, specs[index].dims)
        later = set(output).union(*inputs[index + 1 :])
        if index == 0:
            x, axes = work.summed(name, term, later)
        else:
            x, axes = work.joined((x, axes), (name, term), later)
    missing = [axis for axis in output if axis not in axes]  # axes of size 1 in every operand
    assert all(sizes[axis] == 1 for axis in missing)
    kept = "".join(axis for axis in output if axis in axes)
    x = work.ordered(x, axes, kept)
    if missing:
        x = parts.reshaped(x, [sizes[axis] for axis in output])
    return x


class _Product:
    """Tensors with named axes."""

    def __init__(self, parts: Expansion, sizes: dict[str, int], output: str) -> None:
        self.parts, self.sizes, self.output = parts, sizes, output

    def without_ones(self, x: str, axes: str, dims: tuple[int, ...]) -> tuple[str, str]:
        """Without axes of size 1: what is broadcast is as good as absent."""
        if 1 not in dims:
            return x, axes
        kept = [axis for axis, size in zip(axes, dims, strict=True) if size != 1]
        return self.parts.reshaped(x, [self.sizes[axis] for axis in kept]), "".join(kept)

    def summed(self, x: str, axes: str, later: set[str]) -> tuple[str, str]:
        """Summed over the axes that nothing later has."""
        gone = [index for index, axis in enumerate(axes) if axis not in later]
        if not gone:
            return x, axes
        total = self.parts.add("ReduceSum", x, self.parts.constant(gone, "int64"), keepdims=0)
        return total, "".join(axis for axis in axes if axis in later)

    def ordered(self, x: str, axes: str, wanted: str) -> str:
        """The axes in another order."""
        if axes == wanted:
            return x
        return self.parts.add("Transpose", x, perm=tuple(axes.index(axis) for axis in wanted))

    def joined(self, a: tuple[str, str], b: tuple[str, str], later: set[str]) -> tuple[str, str]:
        """The product of two tensors, summed over the axes that nothing later has."""
        if a[0] in self.parts.known and b[0] not in self.parts.known:
            a, b = b, a  # a constant matrix is packed once if it stands on the right
        a, b = self.summed(*a, later | set(b[1])), self.summed(*b, later | set(a[1]))
        both = [axis for axis in a[1] if axis in b[1]]
        lead = "".join(axis for axis in both if axis in later)
        inner = "".join(axis for axis in both if axis not in later)
        rows, columns = ("".join(axis for axis in x[1] if axis not in both) for x in (a, b))
        if not inner:
            return self._elementwise(a, b, lead, rows, columns)
        left = self._matrix(a, lead, rows, inner)
        right = self._matrix(b, lead, inner, columns)
        axes = lead + rows + columns
        return self.parts.reshaped(self.parts.add("MatMul", left, right), self._dims(axes)), axes

    def _dims(self, axes: str) -> list[int]:
        return [self.sizes[axis] for axis in axes]

    def _matrix(self, x: tuple[str, str], lead: str, rows: str, columns: str) -> str:
        """(rows, columns), or a stack of such matrices."""
        name = self.ordered(*x, lead + rows + columns)
        if len(rows) == len(columns) == 1:
            return name  # MatMul takes any axes before these
        stack = self._dims(lead)
        return self.parts.reshaped(name, [*stack, math.prod(self._dims(rows)), math.prod(self._dims(columns))])

    def _elementwise(
        self, a: tuple[str, str], b: tuple[str, str], lead: str, rows: str, columns: str
    ) -> tuple[str, str]:
        """No axis is summed over: a product with broadcasting."""
        left = self.ordered(*a, lead + rows)
        if columns:
            left = self.parts.reshaped(left, [*self._dims(lead + rows), *[1] * len(columns)])
        right = self.ordered(*b, lead + columns)
        if rows:
            right = self.parts.reshaped(right, [*self._dims(lead), *[1] * len(rows), *self._dims(columns)])
        return self.parts.add("Mul", left, right), lead + rows + columns
