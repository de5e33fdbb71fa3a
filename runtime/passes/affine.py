"""Fold constant factors and summands next to a convolution or matrix product into its weights and bias.

After it: one value for all, or one per output channel. Before it: a factor per input channel, and a summand per input
channel if there is no zero padding. Everything is computed in float64 and rounded once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph, Node
from alula.runtime.ops.contract import find
from alula.runtime.ops.traits import Linear, Operand, axis_for, broadcast
from alula.runtime.passes.operands import other_operand
from alula.runtime.passes.rewrite import Rewrite
from alula.runtime.passes.shapes import Shapes

ARITHMETIC = ("Add", "Sub", "Mul", "Div")


@frozen
class Affine:
    """y = x * factor + summand; scalars or (C,), float64."""

    factor: Array
    summand: Array

    @staticmethod
    def of(rewrite: Rewrite, node: Node, tensor: str) -> Affine | None:
        """What a node does to one of its inputs, if the other is a constant scalar or vector."""
        other = other_operand(node, tensor) if node.op in ARITHMETIC else None
        value = rewrite.value(other) if other is not None else None
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
    """Fold constant arithmetic into products (`Op.linear`), on both sides."""
    shapes, rewrite = Shapes(graph), Rewrite(graph)
    before = -1
    while before != rewrite.changes:
        before = rewrite.changes
        for node in rewrite.nodes():
            if rewrite.holds(node) and find(node.op, node.label).linear is not None:
                _fold_behind(rewrite, node)
        for node in rewrite.nodes(*ARITHMETIC):
            _fold_before(rewrite, shapes, node)
    return rewrite.graph()


def _fold_behind(rewrite: Rewrite, host: Node) -> None:
    """host, then arithmetic -> host with other weights."""
    after = rewrite.only_reader(host.outputs[0], *ARITHMETIC)
    affine = Affine.of(rewrite, after, host.outputs[0]) if after is not None else None
    weights = _Weights.of(rewrite, host)
    if after is None or affine is None or weights is None or not affine.fits(weights.c_out):
        return
    folded = weights.scaled(affine)
    if folded is not None:
        rewrite.exchange([host, after], [replace(folded.node(rewrite, host), outputs=after.outputs)])


def _fold_before(rewrite: Rewrite, shapes: Shapes, node: Node) -> None:
    """Arithmetic that only hosts read -> hosts with other weights."""
    output = node.outputs[0]
    data = next((name for name in node.inputs if not rewrite.is_constant(name)), None)
    affine = Affine.of(rewrite, node, data) if data is not None else None
    if affine is None or data is None or output in rewrite.outputs or shapes.shape(data) != shapes.shape(output):
        return
    readers, new = rewrite.readers(output), []
    for host in readers:
        weights = _Weights.of(rewrite, host)
        if weights is None or host.inputs[0] != output or output in (*host.inputs[1:], *host.reads[len(host.inputs) :]):
            return
        fed = weights.fed(affine, data) if affine.fits(weights.c_in) else None
        if fed is None:
            return
        new.append(fed)
    for host, folded in zip(readers, new, strict=True):
        rewrite.exchange([host], [folded.node(rewrite, host)])
    if readers:
        rewrite.exchange([node], [])


@frozen
class _Weights:
    """The constant weight and bias of a product, as float64."""

    node: Node
    linear: Linear
    operand: Operand
    weight: Array
    bias: Array | None
    dtype: np.dtype[Any]

    @staticmethod
    def of(rewrite: Rewrite, node: Node) -> _Weights | None:
        """The weights of a product without an epilogue, if they are constant floats."""
        op = find(node.op, node.label)
        linear = op.linear
        if linear is None or node.fused or node.guard:
            return None
        weight, operand = rewrite.value(node.inputs[linear.weight]), op.operands[linear.weight]
        named = node.inputs[linear.bias] if linear.bias is not None and linear.bias < len(node.inputs) else ""
        bias = rewrite.value(named) if named else None
        if weight is None or weight.dtype.kind != "f" or (named and bias is None):
            return None
        if op.rank is broadcast and weight.ndim != 2:
            return None  # a product of many matrices
        found = _Weights(node, linear, operand, weight.astype(np.float64), None, weight.dtype)
        if not found.is_sound:
            return None
        if bias is None:
            return found
        if bias.size not in (1, found.c_out) or bias.shape[-1:] not in ((), (bias.size,)):
            return None
        gain = getattr(node.attrs, linear.bias_gain) if linear.bias_gain else 1.0
        return replace(found, bias=bias.astype(np.float64).reshape(-1) * gain)

    @property
    def is_sound(self) -> bool:
        """Whether the weight has the axes and groups that its op asks for; `infer` refuses others, but looks later."""
        if self.weight.ndim < 2 or self.group < 1:
            return False
        axis = self._axis("inputs" if self.operand.grouped == "outputs" else "outputs")
        return not self.operand.grouped or axis is None or self.weight.shape[axis] % self.group == 0

    @property
    def group(self) -> int:
        return int(getattr(self.node.attrs, "group", 1))

    def _axis(self, which: str) -> int | None:
        """The weight's axis of "outputs" or "inputs"."""
        axis = axis_for(getattr(self.operand, which), self.node.attrs)
        return None if axis is None else axis % self.weight.ndim

    def _channels(self, which: str) -> int:
        axis = self._axis(which)
        if axis is None:
            return 0
        return int(self.weight.shape[axis]) * (self.group if self.operand.grouped == which else 1)

    @property
    def c_out(self) -> int:
        """Output channels."""
        return self._channels("outputs")

    @property
    def c_in(self) -> int:
        """Input channels; 0 where they have no axis."""
        return self._channels("inputs")

    def scaled(self, affine: Affine) -> _Folded | None:
        """The node whose result is this one's, times the factor, plus the summand."""
        plain = not affine.summand.any()
        if self.linear.bias is None and not plain:
            return None  # the summand goes into the epilogue
        factor = np.broadcast_to(affine.factor, (self.c_out,))
        bias = None
        if self.bias is not None or not plain:
            bias = np.broadcast_to(0.0 if self.bias is None else self.bias, (self.c_out,)) * factor + affine.summand
        return self._made(self.weight * self._along("outputs", factor), bias, self.node.inputs[0])

    def fed(self, affine: Affine, x: str) -> _Folded | None:
        """The node that reads x and gives what this one gives for x * factor + summand."""
        plain = not affine.summand.any()
        if self._axis("inputs") is None:
            return None
        if not plain and (self.linear.bias is None or not self.linear.whole(self.node.attrs)):
            return None
        factor, summand = (np.broadcast_to(part, (self.c_in,)) for part in (affine.factor, affine.summand))
        bias = self.bias
        if not plain:
            reach = self.weight * self._along("inputs", summand)
            gain = getattr(self.node.attrs, self.linear.gain) if self.linear.gain else 1.0
            axes = tuple(axis for axis in range(self.weight.ndim) if axis != self._axis("outputs"))
            bias = gain * reach.sum(axis=axes) + (0.0 if bias is None else bias)
        return self._made(self.weight * self._along("inputs", factor), bias, x)

    def _along(self, which: str, values: Array) -> Array:
        """One value for each channel, in a shape that multiplies the weight."""
        axis = self._axis(which)
        assert axis is not None
        shape = [1] * self.weight.ndim
        shape[axis] = self.weight.shape[axis]
        if self.operand.grouped != which or self.group == 1:
            return values.reshape(shape)
        other = self._axis(
            "inputs" if which == "outputs" else "outputs"
        )  # whose channels meet those of their own group
        assert other is not None
        shape[other] = self.weight.shape[other]
        rows = np.repeat(values.reshape(self.group, -1), shape[other] // self.group, axis=0)  # (other, axis)
        return (rows if other < axis else rows.T).reshape(shape)

    def _made(self, weight: Array, bias: Array | None, x: str) -> _Folded | None:
        """The result in the weight's dtype, unless it does not fit."""
        dtype = self.dtype
        with np.errstate(over="ignore"):
            rounded = weight.astype(dtype), None if bias is None else bias.astype(dtype)
        if not all(part is None or bool(np.isfinite(part).all()) for part in rounded):
            return None
        return _Folded(self.linear, x, *rounded)


@frozen
class _Folded:
    """What a node reads in future. It is put into the graph only when every reader can be changed."""

    linear: Linear
    x: str
    weight: Array
    bias: Array | None

    def node(self, rewrite: Rewrite, host: Node) -> Node:
        """The host with these weights; a constant that nothing else reads keeps its name."""
        linear, names = self.linear, [self.x, *host.inputs[1:]]
        for index, value in ((linear.weight, self.weight), (linear.bias, self.bias)):
            if value is None or index is None:
                continue
            names += [""] * (index + 1 - len(names))
            old = names[index]
            if old and len(rewrite.readers(old)) == 1 and old not in rewrite.outputs:
                rewrite.define(old, value)
            else:
                names[index] = rewrite.constant(old or f"{host.outputs[0]}.bias", value)
        attrs: Any = replace(host.attrs, **{linear.bias_gain: 1.0}) if linear.bias_gain else host.attrs
        return replace(host, inputs=tuple(names), attrs=attrs)
