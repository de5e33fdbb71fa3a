"""Constant factors and summands next to a convolution or matrix product, put into its weights and bias.

Behind it, a value for all or one for each output channel. Before it, one for each input channel: a factor always, a
summand where no padding of zeros comes in between. Everything is computed in float64 and rounded once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph, Node
from alula.runtime.passes.draft import Draft
from alula.runtime.passes.operands import other_operand
from alula.runtime.passes.shapes import Shapes

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
ARITHMETIC = ("Add", "Sub", "Mul", "Div")


@frozen
class Affine:
    """y = x * factor + summand; scalars or (C,), float64."""

    factor: Array
    summand: Array

    @staticmethod
    def of(draft: Draft, node: Node, tensor: str) -> Affine | None:
        """What a node does to one of its inputs, if the other is a constant scalar or vector."""
        other = other_operand(node, tensor) if node.op in ARITHMETIC else None
        value = draft.value(other) if other is not None else None
        if value is None or value.dtype.kind != "f" or value.ndim > 1:
            return None
        number, first = value.astype(np.float64), node.inputs[0] == tensor
        one, zero = np.ones(()), np.zeros(())
        if node.op == "Mul":
            return Affine(number, zero)
        if node.op == "Add":
            return Affine(one, number)
        if node.op == "Sub":
            return Affine(one, -number) if first else Affine(-one, number)
        return Affine(1 / number, zero) if first and bool(np.all(number)) else None

    def fits(self, channels: int) -> bool:
        """Whether it has one value for all, or one for each channel."""
        return all(part.size in (1, channels) for part in (self.factor, self.summand))


def fold_affine(graph: Graph) -> Graph:
    """Fold constant arithmetic into Conv, ConvTranspose, Gemm and MatMul, from behind and from before."""
    shapes, draft = Shapes(graph), Draft(graph)
    before = -1
    while before != draft.changes:
        before = draft.changes
        for node in draft.nodes(*WEIGHTED):
            _fold_behind(draft, node)
        for node in draft.nodes(*ARITHMETIC):
            _fold_before(draft, shapes, node)
    return draft.graph()


def _fold_behind(draft: Draft, host: Node) -> None:
    """host, then arithmetic -> host with other weights."""
    after = draft.only_reader(host.outputs[0], *ARITHMETIC)
    affine = Affine.of(draft, after, host.outputs[0]) if after is not None else None
    weights = _Weights.of(draft, host)
    if after is None or affine is None or weights is None or not affine.fits(weights.c_out):
        return
    folded = weights.scaled(affine)
    if folded is not None:
        draft.exchange([host, after], [replace(folded.node(draft, host), outputs=after.outputs)])


def _fold_before(draft: Draft, shapes: Shapes, node: Node) -> None:
    """Arithmetic that only hosts read -> hosts with other weights."""
    output = node.outputs[0]
    data = next((name for name in node.inputs if not draft.is_constant(name)), None)
    affine = Affine.of(draft, node, data) if data is not None else None
    if affine is None or data is None or output in draft.outputs or shapes.shape(data) != shapes.shape(output):
        return
    readers, new = draft.readers(output), []
    for host in readers:
        weights = _Weights.of(draft, host) if host.op in WEIGHTED else None
        if weights is None or host.inputs[0] != output or output in (*host.inputs[1:], *host.reads[len(host.inputs) :]):
            return
        fed = weights.fed(affine, data) if affine.fits(weights.c_in) else None
        if fed is None:
            return
        new.append(fed)
    for host, folded in zip(readers, new, strict=True):
        draft.exchange([host], [folded.node(draft, host)])
    if readers:
        draft.exchange([node], [])


def _is_padded(conv: Node) -> bool:
    return any(conv.attrs.pads) if conv.attrs.auto_pad == "NOTSET" else conv.attrs.auto_pad != "VALID"


@frozen
class _Weights:
    """The constant weight and bias of a node, as float64."""

    node: Node
    weight: Array
    bias: Array | None
    dtype: np.dtype[Any]

    @staticmethod
    def of(draft: Draft, node: Node) -> _Weights | None:
        """The weights of a node without a chain, if they are constant floats."""
        weight = draft.value(node.inputs[1])
        named = node.inputs[2] if len(node.inputs) > 2 else ""
        bias = draft.value(named) if named else None
        if node.fused or weight is None or weight.dtype.kind != "f" or (named and bias is None):
            return None
        if node.op == "MatMul" and weight.ndim != 2:
            return None
        if node.op == "Gemm":
            beta = node.attrs.beta
            n = weight.shape[0 if node.attrs.transB else 1]
            if bias is not None and (bias.size not in (1, n) or bias.shape[-1:] not in ((), (bias.size,))):
                return None
            bias = None if bias is None else bias.astype(np.float64).reshape(-1) * beta
        wide = None if bias is None else bias.astype(np.float64)
        return _Weights(node, weight.astype(np.float64), wide, weight.dtype)

    @property
    def group(self) -> int:
        return int(getattr(self.node.attrs, "group", 1))

    @property
    def c_out(self) -> int:
        """Output channels."""
        shape: tuple[int, ...] = self.weight.shape
        if self.node.op == "Conv":
            return shape[0]
        return shape[-1] * self.group if self.node.op != "Gemm" or not self.node.attrs.transB else shape[0]

    @property
    def c_in(self) -> int:
        """Input channels."""
        shape: tuple[int, ...] = self.weight.shape
        if self.node.op == "Conv":
            return shape[-1] * self.group
        return shape[0] if self.node.op != "Gemm" or not self.node.attrs.transB else shape[1]

    def scaled(self, affine: Affine) -> _Folded | None:
        """The node whose result is this one's, times the factor, plus the summand."""
        plain = not affine.summand.any()
        if self.node.op == "MatMul" and not plain:
            return None  # it has no bias: the summand goes into the chain
        factor = np.broadcast_to(affine.factor, (self.c_out,))
        bias = None
        if self.bias is not None or not plain:
            bias = np.broadcast_to(0.0 if self.bias is None else self.bias, (self.c_out,)) * factor + affine.summand
        return self._made(self.weight * self._by_output(factor), bias, self.node.inputs[0])

    def fed(self, affine: Affine, x: str) -> _Folded | None:
        """The node that reads x and gives what this one gives for x * factor + summand."""
        node, plain = self.node, not affine.summand.any()
        if node.op == "Gemm" and node.attrs.transA:
            return None
        if not plain and (node.op in ("MatMul", "ConvTranspose") or (node.op == "Conv" and _is_padded(node))):
            return None
        factor, summand = (np.broadcast_to(part, (self.c_in,)) for part in (affine.factor, affine.summand))
        bias = self.bias
        if not plain:
            reach = self.weight * self._by_input(summand)
            alpha = node.attrs.alpha if node.op == "Gemm" else 1.0
            axes = tuple(axis for axis in range(self.weight.ndim) if axis != self._output_axis)
            bias = alpha * reach.sum(axis=axes) + (0.0 if bias is None else bias)
        return self._made(self.weight * self._by_input(factor), bias, x)

    @property
    def _output_axis(self) -> int:
        if self.node.op == "Conv" or (self.node.op == "Gemm" and self.node.attrs.transB):
            return 0
        return self.weight.ndim - 1

    def _by_output(self, values: Array) -> Array:
        """(C_OUT,) values in a shape that multiplies the weight."""
        ones = (1,) * (self.weight.ndim - 1)
        if self.node.op == "ConvTranspose":  # (C_IN, *kernel, C_OUT / group): rows of a group meet its own outputs
            rows = np.repeat(values.reshape(self.group, -1), self.weight.shape[0] // self.group, axis=0)
            return rows.reshape(self.weight.shape[0], *ones[1:], -1)
        return values.reshape(-1, *ones) if self._output_axis == 0 else values

    def _by_input(self, values: Array) -> Array:
        """(C_IN,) values in a shape that multiplies the weight."""
        ones = (1,) * (self.weight.ndim - 1)
        if self.node.op == "Conv":  # (C_OUT, *kernel, C_IN / group)
            rows = np.repeat(values.reshape(self.group, -1), self.weight.shape[0] // self.group, axis=0)
            return rows.reshape(self.weight.shape[0], *ones[1:], -1)
        return values if self._output_axis == 0 else values.reshape(-1, *ones)

    def _made(self, weight: Array, bias: Array | None, x: str) -> _Folded | None:
        """The result in the weight's dtype, unless it does not fit."""
        dtype = self.dtype
        with np.errstate(over="ignore"):
            rounded = weight.astype(dtype), None if bias is None else bias.astype(dtype)
        if not all(part is None or bool(np.isfinite(part).all()) for part in rounded):
            return None
        return _Folded(x, *rounded)


@frozen
class _Folded:
    """What a node reads in future. It is put into the graph only when every reader can be changed."""

    x: str
    weight: Array
    bias: Array | None

    def node(self, draft: Draft, host: Node) -> Node:
        """The host with these weights; a constant that nothing else reads keeps its name."""
        names = [self.x]
        for index, value in enumerate((self.weight, self.bias), 1):
            if value is None:
                continue
            old = host.inputs[index] if index < len(host.inputs) else ""
            if old and len(draft.readers(old)) == 1 and old not in draft.outputs:
                draft.define(old, value)
                names.append(old)
            else:
                names.append(draft.constant(old or f"{host.outputs[0]}.bias", value))
        attrs: Any = replace(host.attrs, beta=1.0) if host.op == "Gemm" else host.attrs
        return replace(host, inputs=tuple(names), attrs=attrs)
