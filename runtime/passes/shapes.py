"""What is known of shapes before free dimensions are known: two probes.

Each probe gives every free dimension a made-up size, and runs the ops' own `infer` and `reference`. A size that is the
same in both probes is fixed. Two sizes that are equal in both probes are the same free dimension. A made-up size may not
fit a network (a line recogniser needs a height of 48). If an op refuses it, a few rules derive the shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from alula.runtime.errors import AlulaError
from alula.runtime.graph import Array, Dim, Graph, Node, TensorSpec
from alula.runtime.ops.contract import find

Pair = tuple[int, int]  # a size in each world
SMALL = 64  # elements of a tensor that may be part of a shape's computation


@dataclass
class _World:
    specs: dict[str, TensorSpec] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)


class Shapes:
    """Specs with free dimensions, of every tensor whose number of dimensions is known."""

    def __init__(self, graph: Graph) -> None:
        self._constants = graph.constants
        self._worlds = (_World(), _World())
        self._names: dict[Pair, str] = {}
        self._pairs: dict[str, Pair] = {}
        for name, spec in graph.inputs.items():
            if spec.shape and isinstance(spec.shape[0], str):
                self._pair(spec.shape[0], batch=True)
            self.put(name, spec)
        for node in graph.nodes:
            self._visit(node)

    def spec(self, name: str) -> TensorSpec | None:
        """Shape and dtype of a tensor, free dimensions by name; None if even its rank is unknown."""
        if name in self._constants:
            return self._constants.spec(name)
        specs = [world.specs.get(name) for world in self._worlds]
        if specs[0] is None or specs[1] is None:
            return None
        return TensorSpec(tuple(map(self._dim, zip(specs[0].dims, specs[1].dims, strict=True))), specs[0].dtype)

    def shape(self, name: str) -> tuple[Dim, ...] | None:
        """The shape alone."""
        spec = self.spec(name)
        return None if spec is None else spec.shape

    def rank(self, name: str) -> int | None:
        """The number of dimensions, if it is known."""
        spec = self.spec(name)
        return None if spec is None else len(spec.shape)

    def value(self, name: str) -> tuple[Dim, ...] | None:
        """The elements of a vector of integers that follows from shapes; free ones by name."""
        values = [self._value(world, name) for world in self._worlds]
        if values[0] is None or values[1] is None or values[0].dtype.kind not in "iu" or values[0].size > SMALL:
            return None
        pairs = zip(values[0].reshape(-1), values[1].reshape(-1), strict=True)
        return tuple(self._dim((int(a), int(b))) for a, b in pairs)

    def put(self, name: str, spec: TensorSpec) -> None:
        """Say what a tensor is."""
        for index, world in enumerate(self._worlds):
            dims = tuple(d if isinstance(d, int) else self._pair(d)[index] for d in spec.shape)
            world.specs[name] = TensorSpec(dims, spec.dtype)

    def _pair(self, dim: str, batch: bool = False) -> Pair:
        """Sizes for a free dimension: odd, so that rounding shows; small, since ops refuse tensors of gigabytes."""
        if dim not in self._pairs:
            count = len(self._pairs)
            pair = (7 + 6 * count, 11 + 8 * count) if batch else (101 + 32 * count, 211 + 46 * count)
            self._pairs[dim], self._names[pair] = pair, dim
        return self._pairs[dim]

    def _dim(self, pair: Pair) -> Dim:
        if pair[0] == pair[1]:
            return pair[0]
        if pair not in self._names:
            name = f"?{pair[0]}|{pair[1]}"
            self._names[pair], self._pairs[name] = name, pair
        return self._names[pair]

    def _value(self, world: _World, name: str) -> Array | None:
        if name in world.values:
            return world.values[name]
        return self._constants[name] if name in self._constants else None

    def _visit(self, node: Node) -> None:
        """Infer a node in both worlds, and its small values."""
        self._infer_both(node)
        if any(node.otherwise):
            self._merge(node)

    def _merge(self, node: Node) -> None:
        """What a guarded node makes may be what it is otherwise: what differs is not known."""
        for name, other in zip(node.outputs, node.otherwise, strict=False):
            own, kept = self.spec(name) if name else None, self.spec(other) if other else None
            if not other or own == kept and own is not None:
                continue
            for world in self._worlds:
                world.specs.pop(name, None)
            if own is not None and kept is not None and (len(own.shape), own.dtype) == (len(kept.shape), kept.dtype):
                pairs = enumerate(zip(own.shape, kept.shape, strict=True))
                dims = tuple(a if a == b else self.unknown(node, axis) for axis, (a, b) in pairs)
                self.put(name, TensorSpec(dims, own.dtype))
        for world in self._worlds:
            for name in node.outputs:
                world.values.pop(name, None)

    def _infer_both(self, node: Node) -> None:
        one, other = (self._infer(node, world) for world in self._worlds)
        if one is None or other is None or not _same_ranks(one, other):
            self._guess(node)
            return
        for world, inferred in zip(self._worlds, (one, other), strict=True):
            names = (node.outputs[0], *(stage.outputs[0] for stage in node.fused), node.body_output)
            world.specs.update((name, inferred[0]) for name in names if name)
            world.specs.update((name, spec) for name, spec in zip(node.outputs[1:], inferred[1:], strict=False) if name)
            self._compute(node, world)

    def _infer(self, node: Node, world: _World) -> tuple[TensorSpec, ...] | None:
        op = find(node.op, node.label)
        specs: list[TensorSpec | None] = []
        values: list[Array | None] = []
        for index, name in enumerate(node.inputs):
            spec = None
            if name:
                spec = world.specs.get(name) or (self._constants.spec(name) if name in self._constants else None)
                if spec is None:
                    return None
            specs.append(spec)
            values.append(self._value(world, name) if name and index in op.static_inputs else None)
            if name and index in op.static_inputs and values[-1] is None:
                return None
        try:
            return op.infer(node.attrs, specs, values)
        except AlulaError:
            return None

    def _compute(self, node: Node, world: _World) -> None:
        """The value of a small tensor that follows from shapes."""
        outputs = [name for name in node.outputs if name]
        if node.fused or any(world.specs[name].size > SMALL for name in outputs if name in world.specs):
            return
        if node.op == "Shape":
            dims = world.specs[node.inputs[0]].dims if node.inputs[0] in world.specs else None
            if dims is not None:
                start, end = getattr(node.attrs, "start", None), getattr(node.attrs, "end", None)
                world.values[outputs[0]] = np.array(dims[start or 0 : end], np.int64)
            return
        inputs = [self._value(world, name) if name else None for name in node.inputs]
        if not node.inputs or any(value is None and name for value, name in zip(inputs, node.inputs, strict=True)):
            return
        if any(value is not None and value.size > SMALL for value in inputs):
            return
        results = find(node.op, node.label).reference(node.attrs, *inputs)
        world.values.update((name, value) for name, value in zip(node.outputs, results, strict=False) if name)

    def _guess(self, node: Node) -> None:
        """What the first output's shape must be where the made-up sizes do not fit."""
        guess = GUESSES.get(node.op)
        if guess is None and find(node.op, node.label).elementwise:
            guess = _broadcast
        spec = guess(self, node) if guess else None
        if spec is None:
            return
        for name in (node.outputs[0], *(stage.outputs[0] for stage in node.fused), node.body_output):
            self.put(name, spec)

    def unknown(self, node: Node, axis: int) -> str:
        """A name for a size that only this node knows."""
        return f"{node.outputs[0]}[{axis}]"


def _same_ranks(one: tuple[TensorSpec, ...], other: tuple[TensorSpec, ...]) -> bool:
    return [len(spec.shape) for spec in one] == [len(spec.shape) for spec in other]


def _broadcast(shapes: Shapes, node: Node) -> TensorSpec | None:
    specs = [shapes.spec(name) for name in node.inputs if name]
    if any(spec is None for spec in specs):
        return None
    known = [spec for spec in specs if spec is not None]
    rank = max(len(spec.shape) for spec in known)
    rows = [(1,) * (rank - len(spec.shape)) + spec.shape for spec in known]
    dims = []
    for column in zip(*rows, strict=True):
        sizes = [dim for dim in column if dim != 1] or [1]
        dims.append(next((dim for dim in sizes if isinstance(dim, int)), sizes[0]))
    return TensorSpec(tuple(dims), known[-1].dtype)


def _concat(shapes: Shapes, node: Node) -> TensorSpec | None:
    specs = [shapes.spec(name) for name in node.inputs]
    if any(spec is None for spec in specs):
        return None
    known = [spec for spec in specs if spec is not None]
    if len({len(spec.shape) for spec in known}) > 1 or not known[0].shape:
        return None
    axis = node.attrs.axis % len(known[0].shape)
    dims: list[Dim] = []
    for index, column in enumerate(zip(*(spec.shape for spec in known), strict=True)):
        fixed = [dim for dim in column if isinstance(dim, int)]
        if index == axis:
            dims.append(sum(fixed) if len(fixed) == len(column) else shapes.unknown(node, index))
        else:  # all are equal in truth, so a fixed one tells what the free ones are
            dims.append(fixed[0] if fixed else column[0])
    return TensorSpec(tuple(dims), known[0].dtype)


def _reshape(shapes: Shapes, node: Node) -> TensorSpec | None:
    spec, value = shapes.spec(node.inputs[0]), shapes.value(node.inputs[1])
    if spec is None or value is None:
        return None
    dims: list[Dim] = []
    for index, dim in enumerate(value):
        if dim == 0 and index < len(spec.shape):
            dims.append(spec.shape[index])
        else:
            dims.append(shapes.unknown(node, index) if dim == -1 else dim)
    return TensorSpec(tuple(dims), spec.dtype)


def _window(shapes: Shapes, node: Node) -> TensorSpec | None:
    """Convolutions and pools: images stay images."""
    spec = shapes.spec(node.inputs[0])
    if spec is None or len(spec.shape) < 3:
        return None
    dims = [spec.shape[0], *(shapes.unknown(node, axis) for axis in range(1, len(spec.shape) - 1)), spec.shape[-1]]
    weight = shapes.shape(node.inputs[1]) if node.op in ("Conv", "ConvTranspose") else None
    if node.op in ("Conv", "ConvTranspose"):
        if not weight or not isinstance(weight[-1], int):
            return None
        dims[-1] = weight[0] if node.op == "Conv" else weight[-1] * node.attrs.group
    return TensorSpec(tuple(dims), spec.dtype)


def _matmul(shapes: Shapes, node: Node) -> TensorSpec | None:
    a, b = shapes.spec(node.inputs[0]), shapes.spec(node.inputs[1])
    if a is None or b is None or len(b.shape) != 2 or len(a.shape) < 2:
        return None
    return TensorSpec((*a.shape[:-1], b.shape[-1]), a.dtype)


GUESSES: dict[str, Callable[[Shapes, Node], TensorSpec | None]] = {
    "AveragePool": _window,
    "Concat": _concat,
    "Conv": _window,
    "ConvTranspose": _window,
    "MatMul": _matmul,
    "MaxPool": _window,
    "Reshape": _reshape,
}
