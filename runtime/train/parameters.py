"""Which constants of a network are parameters: what a framework would train if the network had been written in it.

Weights and biases of layers, scales and shifts of normalisations, slopes of PRelu, embeddings. A factor or summand with
one value per channel is one if it comes right after such a layer or normalisation, however that was exported. Everything
else is a buffer: masks, anchors, positions, the network's own input normalisation. Buffers stay as they are unless an
update rule names them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alula.runtime.graph import Graph, Node, TensorSpec
from alula.runtime.ops.contract import Op, find
from alula.runtime.ops.traits import STATISTIC, TABLE, WEIGHT, axis_for
from alula.runtime.passes.layer_norm import ONES, ZEROS

ARITHMETIC = ("Add", "Mul")

Parameters = dict[str, list[Node]]


def parameters(graph: Graph) -> Parameters:
    """The parameters, with the nodes that read them, in the order of the forward pass."""
    return _Walk(graph).parameters()


def buffers(graph: Graph) -> Parameters:
    """The other float32 constants that training could change if it were told to, with their readers."""
    return _Walk(graph).buffers()


class _Walk:
    """One graph, in trainable form."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.makers = graph, graph.producers()
        self._followed: dict[str, bool] = {}

    def parameters(self) -> Parameters:
        found: Parameters = {}
        statistics = {name for node in self.graph.nodes for name in held(node, STATISTIC)}
        for node in self.graph.nodes:
            for name in self._of(node):
                if name not in statistics and node not in found.setdefault(name, []):
                    found[name].append(node)
        return found

    def buffers(self) -> Parameters:
        known, found = self.parameters(), Parameters()
        for node in self.graph.nodes:
            for read in node.inputs if contract(node).has_buffers else ():
                name = self._constant(read)
                if name and name not in known and node not in found.setdefault(name, []):
                    found[name].append(node)
        return found

    def _of(self, node: Node) -> Iterator[str]:
        for index, operand in contract(node).operands.items():
            if operand.role == STATISTIC or index >= len(node.inputs):
                continue
            for name in self._sources(node.inputs[index]):
                if operand.role != TABLE or len(self._spec(name).dims) > 1:
                    yield name
        if node.op in ARITHMETIC:
            yield from self._affine(node)

    def _affine(self, node: Node) -> Iterator[str]:
        """The constant operand of an Add or Mul, if it is a scale or shift of what a layer or normalisation made."""
        for name, other in zip(node.inputs, reversed(node.inputs), strict=True):
            constant = self._constant(name)
            if not constant or not self._is_vector(constant):
                continue
            if self._spec(constant).size > 1 and self._follows_a_layer(other) or self._is_lone_bias(node, other):
                yield constant

    def _is_vector(self, name: str) -> bool:
        """Whether a constant may have one value for each channel."""
        spec = self._spec(name)
        return max(spec.dims, default=1) == spec.size and bool(np.isfinite(self.graph.constants[name]).all())

    def _is_lone_bias(self, node: Node, other: str) -> bool:
        """Whether a single number is added to what a layer of one output channel made, which has no bias."""
        layer = self.makers.get(other)
        linear = contract(layer).linear if layer is not None else None
        if node.op != "Add" or layer is None or linear is None or any(layer.inputs[linear.weight + 1 :]):
            return False
        weight = self._constant(layer.inputs[linear.weight])
        columns = axis_for(contract(layer).operands[linear.weight].outputs, layer.attrs)
        is_one = bool(weight) and columns is not None and self._spec(weight).dims[columns] == 1
        return is_one and getattr(layer.attrs, "group", 1) == 1

    def _follows_a_layer(self, tensor: str) -> bool:
        """Whether a tensor is a layer's or normalisation's result, perhaps in another shape, scaled or shifted."""
        if tensor not in self._followed:
            self._followed[tensor] = False  # of a graph without cycles: for the walk below
            node = self.makers.get(tensor)
            self._followed[tensor] = node is not None and self._is_layer(node)
        return self._followed[tensor]

    def _is_layer(self, node: Node) -> bool:
        if is_layer(node):
            return next(self._of(node), "") != ""
        if contract(node).normalizes or self._normalizes(node):
            return True
        if node.op in ARITHMETIC:
            return next(self._affine(node), "") != ""
        return _is_view(node) and self._follows_a_layer(node.inputs[0])

    def _normalizes(self, node: Node) -> bool:
        """Whether a Div or Mul is the end of a normalisation that was exported as arithmetic: x / sqrt(...)."""
        if node.op == "Div":
            return self._is_root(node.inputs[1])
        if node.op != "Mul":
            return False
        for name in node.inputs:
            maker = self._maker(name)
            if maker is not None and (
                maker.op == "Reciprocal" and self._is_root(maker.inputs[0])
                or maker.op == "Div" and any(map(self._is_root, maker.inputs))  # 1 / deviation, or norm / mean of norms
                or maker.op == "Pow" and self._is_constant(maker.inputs[1], -0.5)
            ):  # fmt: skip
                return True
        return False

    def _is_root(self, tensor: str) -> bool:
        """Whether a tensor is a deviation: a computed square root, or power 0.5."""
        maker = self._maker(tensor)
        if maker is None:
            return False
        return maker.op in ("Sqrt", "ReduceL2") or maker.op == "Pow" and self._is_constant(maker.inputs[1], 0.5)

    def _maker(self, tensor: str) -> Node | None:
        """The node that makes a tensor, other shapes of it left aside."""
        node = self.makers.get(tensor)
        while node is not None and (_is_view(node) or node.op == "Expand"):
            node = self.makers.get(node.inputs[0])
        return node

    def _is_constant(self, name: str, value: float) -> bool:
        constants = self.graph.constants
        return name in constants and constants.spec(name).size == 1 and float(constants[name].reshape(())) == value

    def _sources(self, name: str) -> list[str]:
        """The float32 constants that a layer's weight is, or is computed from by nodes that read nothing else."""
        if constant := self._constant(name):
            return [constant]
        found, left, seen = dict[str, None](), [name], set[str]()
        while left:
            tensor = left.pop()
            if tensor in seen or not tensor:
                continue
            seen.add(tensor)
            maker = self.makers.get(tensor)
            if maker is not None:
                left += maker.reads[::-1]
            elif tensor not in self.graph.constants:
                return []  # an input: the weight is computed from the data
            elif self._constant(tensor) and self._spec(tensor).size > 1:
                found[tensor] = None
        return list(found)

    def _constant(self, name: str) -> str:
        """The float32 constant that a tensor is, perhaps through views; "" if it is none."""
        while name in self.makers and _is_view(self.makers[name]):
            name = self.makers[name].inputs[0]
        known = name in self.graph.constants and not name.endswith((ONES, ZEROS))
        return name if known and self._spec(name).dtype == "float32" else ""

    def _spec(self, name: str) -> TensorSpec:
        return self.graph.constants.spec(name)


def contract(node: Node) -> Op:
    """What a node's op declares."""
    return find(node.op, node.label)


def held(node: Node, *roles: str) -> Iterator[str]:
    """The inputs of a node with one of these roles."""
    for index, operand in contract(node).operands.items():
        if operand.role in roles and index < len(node.inputs) and node.inputs[index]:
            yield node.inputs[index]


def is_layer(node: Node) -> bool:
    """Whether a node is a layer: an op with weights."""
    return any(operand.role == WEIGHT for operand in contract(node).operands.values())


def _is_view(node: Node) -> bool:
    return contract(node).is_view and node.op not in ("Cast", "Resize")
