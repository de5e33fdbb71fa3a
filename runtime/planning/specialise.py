"""From a graph with free dimensions to one of fixed shapes: every spec known, every shape computed, dead nodes gone.

This runs on the device for every new input shape, so it is one pass over the nodes and one back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from alula.runtime.errors import DTypeError, GraphError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, ConstantPool, Dim, Graph, Node, TensorSpec
from alula.runtime.ops import epilogue
from alula.runtime.ops.contract import NoAttrs, find, infer
from alula.runtime.planning.expansion import RULES, Expansion
from alula.runtime.planning.reference import run_node

# A node of known inputs is computed now, unless it would blow a few numbers up to a large tensor
FOLD_BYTES = 1 << 20
FOLD_GROWTH = 4


class Known(Mapping[str, Array]):
    """Values that are known before the program runs: folded ones, and the graph's constants, decoded when asked for."""

    def __init__(self, graph: Graph, folded: dict[str, Array]) -> None:
        self.constants = graph.constants
        self.folded = folded

    def __getitem__(self, name: str) -> Array:
        return self.folded[name] if name in self.folded else self.constants[name]

    def __contains__(self, name: object) -> bool:
        return name in self.folded or name in self.constants

    def __iter__(self) -> Iterator[str]:
        yield from self.folded
        yield from self.constants

    def __len__(self) -> int:
        return len(self.folded) + len(self.constants)


@frozen
class Specialised:
    """A graph for inputs of fixed shapes.

    inputs  : the graph's inputs
    outputs : the graph's outputs; one may be a known value or an input
    nodes   : what must run, in order
    specs   : static spec of every tensor, those between fused nodes included
    values  : what is known already
    constants : those of the values that are the graph's own
    """

    inputs: dict[str, TensorSpec]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    specs: dict[str, TensorSpec]
    values: Mapping[str, Array]
    constants: ConstantPool


def specialise(
    graph: Graph, input_specs: Mapping[str, TensorSpec], known: Mapping[str, Array] | None = None
) -> Specialised:
    """Fix every shape of a graph, and compute what follows from shapes alone.

    input_specs : static spec of each graph input
    known       : values of the inputs that `static_input_names` lists
    raise       : ShapeError, DTypeError, GraphError; one line that names the input or node
    """
    inputs = bind(graph, input_specs)
    return Walk(graph, inputs, dict(known or {})).result()


def static_input_names(graph: Graph) -> tuple[str, ...]:
    """The graph inputs whose values decide shapes; a program is planned for their values, too."""
    wanted: set[str] = set()
    for node in reversed(graph.nodes):
        decides = any(name in wanted for name in node.outputs)
        static = find(node.op, node.label).static_inputs
        if decides and node.op not in ("Shape", "Size"):  # these look at the shape alone
            wanted.update(node.operands)
        wanted.update(node.inputs[i] for i in static if i < len(node.inputs))
    return tuple(name for name in graph.inputs if name in wanted)


def bind(graph: Graph, given: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Check the specs of the inputs against the graph's."""
    bound: dict[str, tuple[int, str]] = {}  # free dimension -> its size, and the input that set it
    for name, expected in graph.inputs.items():
        if name not in given:
            raise GraphError(f"{graph.name}: expected input {name!r} {expected}, got {sorted(given)}; pass it too")
        got = given[name]
        if got.dtype != expected.dtype:
            raise DTypeError(f"input {name}: expected {expected}, got {got}; convert it to {expected.dtype}")
        if not _fits(got.dims, expected.shape):
            raise ShapeError(f"input {name}: expected {expected}, got {got}; {_hint(got.dims, expected.shape)}")
        for size, dim in zip(got.dims, expected.shape, strict=True):
            if isinstance(dim, str):
                first, setter = bound.setdefault(dim, (size, name))
                if first != size:
                    raise ShapeError(
                        f"input {name}: expected {dim} = {first} as input {setter} has, got {got}; "
                        "the same name is the same size"
                    )
    return {name: given[name] for name in graph.inputs}


def _fits(got: tuple[int, ...], expected: tuple[Dim, ...]) -> bool:
    return len(got) == len(expected) and all(isinstance(e, str) or g == e for g, e in zip(got, expected, strict=True))


def _hint(got: tuple[int, ...], expected: tuple[Dim, ...]) -> str:
    rank = len(expected)
    if len(got) == rank >= 3:
        if _fits((got[0], got[-1], *got[1:-1]), expected):
            return f"it looks channels-last: transpose it by (0, {rank - 1}, {', '.join(map(str, range(1, rank - 1)))})"
        if _fits((got[0], *got[2:], got[1]), expected):
            return f"it looks channels-first: transpose it by (0, {', '.join(map(str, range(2, rank)))}, 1)"
    if len(got) == rank - 1 and _fits((1, *got), expected):
        return "the batch is missing: add an axis in front"
    return "resize or reshape it"


class Walk:
    """One specialisation."""

    def __init__(self, graph: Graph, inputs: dict[str, TensorSpec], folded: dict[str, Array]) -> None:
        self.graph, self.inputs, self.folded = graph, inputs, folded
        self.specs = dict(inputs)
        self.nodes: list[Node] = []

    def result(self) -> Specialised:
        """Walk all nodes, then drop those that nothing needs."""
        self._check_known()
        for node in self.graph.nodes:
            self.visit(node)
        return self.finished(self.graph.outputs)

    def _check_known(self) -> None:
        for name, value in self.folded.items():
            spec = TensorSpec.of(value)
            if self.inputs.get(name) != spec:
                raise GraphError(f"input {name}: expected a value of the input's spec, got {spec}; pass the same")

    def finished(self, outputs: tuple[str, ...]) -> Specialised:
        """What was walked, without nodes that these outputs do not need."""
        needed = {name for name in outputs if name not in self.folded}
        kept = []
        for node in reversed(self.nodes):
            if any(name in needed for name in node.outputs):
                kept.append(node)
                needed.update(node.reads)
        for name in outputs:
            self._spec(name)
        nodes, values = tuple(reversed(kept)), Known(self.graph, self.folded)
        return Specialised(self.inputs, outputs, nodes, self.specs, values, self.graph.constants)

    def _spec(self, name: str) -> TensorSpec:
        spec = self.specs.get(name)
        if spec is None:
            spec = self.specs[name] = self.graph.constants.spec(name)
        return spec

    def value(self, name: str) -> Array | None:
        """What a tensor is, if that is known."""
        if name in self.folded:
            return self.folded[name]
        return self.graph.constants[name] if name in self.graph.constants else None

    def visit(self, node: Node) -> None:
        """Infer a node, and compute it if its inputs are known."""
        if node.guard:
            self._check_guard(node)
            flag = self.value(node.guard)
            if flag is not None:
                self._decided(node, bool(flag.any()))
                return
            if node.op == "Branch" and (condition := self.value(node.inputs[0])) is not None:
                self._decide(node, bool(condition.any()))
                return
            node = replace(node, otherwise=tuple(name if self.exists(name) else "" for name in node.otherwise))
        if node.op == "Shape":
            dims = self._spec(node.inputs[0]).dims
            start, end = getattr(node.attrs, "start", None), getattr(node.attrs, "end", None)
            self._know(node.outputs[0], np.array(dims[start or 0 : end], np.int64))
            return
        if node.op == "Size":
            self._know(node.outputs[0], np.array(self._spec(node.inputs[0]).size, np.int64))
            return
        if not node.outputs[0] and not find(node.op, node.label).optional_first:
            node = replace(node, outputs=(f"{next(filter(None, node.outputs))}|unread", *node.outputs[1:]))
        specs = self._infer(node)
        bad = self._misfit(node, specs[0]) if node.fused else None
        if bad is not None:
            for part in epilogue.split(node, bad):
                self.visit(part)
            return
        names = (node.body_output, *node.outputs[1:])
        self.specs.update((name, spec) for name, spec in zip(names, specs, strict=False) if name)
        for spec, name in zip(specs, node.otherwise, strict=False):
            if name and self._spec(name) != spec:
                raise ShapeError(
                    f"{node.label}: expected {name!r} to be {spec} as the output for which it stands, got {self._spec(name)}; "
                    "guard a block that keeps its input's shape"
                )
        if node.fused:
            self.specs.update((stage.outputs[0], specs[0]) for stage in node.fused)
        if self._foldable(node, specs):
            self._fold(node)
        elif not self._expanded(node):
            self.nodes.append(node)

    def _expanded(self, node: Node) -> bool:
        """Whether simpler nodes stand for this one now."""
        rule = RULES.find(find(node.op, node.label))
        if rule is None:
            return False
        specs = [self._spec(name) if name else None for name in node.inputs]
        parts = Expansion(node, specs, Known(self.graph, self.folded))
        result = rule(parts)
        if result is None:
            return False
        for name, value in parts.constants.items():
            self._know(name, value)
        for part in parts.ending(result):
            self.visit(part)
        return True

    def _decide(self, branch: Node, taken: bool) -> None:
        """A Branch under a guard, of a known condition: one flag is the guard, the other one is never set."""
        flag, other = branch.outputs if taken else reversed(branch.outputs)
        self.visit(Node("Identity", (branch.guard,), (flag,), NoAttrs(), branch.name))
        self._know(other, np.zeros((), np.int64))

    def _decided(self, node: Node, runs: bool) -> None:
        """A node whose guard is known: it runs, or its outputs are what they are otherwise."""
        if runs:
            self.visit(replace(node, guard="", otherwise=()))
            return
        for name, other in zip(node.outputs, node.otherwise, strict=False):
            if name and self.exists(other):
                self.visit(Node("Identity", (other,), (name,), NoAttrs(), node.name))

    def exists(self, name: str) -> bool:
        """Whether there is such a tensor: not in a branch that is never taken."""
        return name in self.specs or name in self.folded or name in self.graph.constants

    def _check_guard(self, node: Node) -> None:
        flag = self._spec(node.guard)
        if flag.dtype != "int64" or flag.size != 1:
            raise ShapeError(
                f"{node.label}: expected its guard {node.guard!r} int64 of one element, got {flag}; cast it"
            )

    def _infer(self, node: Node) -> tuple[TensorSpec, ...]:
        if missing := self.missing(node):
            raise GraphError(
                f"{node.label}: expected {missing[0]!r} to follow from shapes and constants, since it "
                "decides a shape, got a computed tensor; export the model without data-dependent shapes"
            )
        values: list[Array | None] = [None] * len(node.inputs)
        op = find(node.op, node.label)
        for index in (*op.static_inputs, *op.checked_inputs):
            if index < len(node.inputs) and node.inputs[index]:
                values[index] = self.value(node.inputs[index])
        return infer(node, [self._spec(name) if name else None for name in node.inputs], values)

    def missing(self, node: Node) -> list[str]:
        """The inputs that decide its shapes, and are not known."""
        static = find(node.op, node.label).static_inputs
        names = [node.inputs[index] for index in static if index < len(node.inputs) and node.inputs[index]]
        return [name for name in names if self.value(name) is None]

    def _misfit(self, node: Node, body: TensorSpec) -> int | None:
        """The first stage of the epilogue that cannot stay in it, now that sizes are known."""
        before = node.body_output
        for index, stage in enumerate(node.fused):
            specs = [body if name == before else self._spec(name) if name else None for name in stage.inputs]
            for name, spec in zip(stage.inputs, specs, strict=True):
                if spec is not None and name != before and epilogue.operand_kind(body.shape, spec.shape) is None:
                    return index
            if infer(stage, specs, [None] * len(specs)) != (body,):
                return index
            before = stage.outputs[0]
        return None

    def _foldable(self, node: Node, specs: tuple[TensorSpec, ...]) -> bool:
        constants, folded = self.graph.constants, self.folded
        # What only nodes of the same guard read may be known where it is skipped, too
        reads = node.reads if any(node.otherwise) else node.operands
        if not all(name in folded or name in constants for name in reads):
            return False
        if node.op.startswith("Random") or not any(node.outputs):
            return False
        made = sum(spec.nbytes for spec in specs)
        return made <= FOLD_BYTES or made <= FOLD_GROWTH * sum(self._spec(name).nbytes for name in node.reads)

    def _fold(self, node: Node) -> None:
        values = {}
        node = node if any(node.otherwise) else replace(node, guard="")
        for name in node.reads:
            value = self.value(name)
            assert value is not None
            values[name] = value
        run_node(node, values)
        for name in node.outputs:
            if name:
                self._know(name, values[name])

    def _know(self, name: str, value: Array) -> None:
        self.folded[name] = value
        self.specs[name] = TensorSpec.of(value)
