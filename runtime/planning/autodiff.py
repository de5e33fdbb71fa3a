"""Reverse-mode differentiation when a program is planned: the backward pass is more nodes in the same IR.

Each op has a gradient rule (`gradient.py` in its room) that appends nodes to a `Tape`. Only what a requested
gradient needs is built: freezing a layer, or updating a part of the network, removes work from the program
(PockEngine, arXiv 2310.17752, section 3). Shapes are fixed: rules see static specs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.ops.contract import find, infer
from alula.runtime.ops.rules import Rules

# (tape, node, gradient of each output or "") -> gradient of each input, "" where there is none
Rule = Callable[["Tape", Node, tuple[str, ...]], Sequence[str]]
RULES: Rules[Rule] = Rules("gradient")
rule = RULES.add


def rule_of(node: Node) -> Rule:
    """The gradient rule of a node's op.

    raise : GraphError if its op has none
    """
    found = RULES.find(find(node.op, node.label))
    if found is None:
        raise GraphError(
            f"{node.label}: expected an op with a gradient on the way to what is trained, got {node.op}; "
            "freeze what lies before it"
        )
    return found


class Tape:
    """Nodes being appended to a network of fixed shapes.

    specs  : static spec of every tensor; grows with the nodes
    values : what is known when the program is planned
    """

    def __init__(self, nodes: Sequence[Node], specs: Mapping[str, TensorSpec], values: Mapping[str, Array]) -> None:
        self.nodes = list(nodes)
        self.specs = dict(specs)
        self.values = values
        self.made: dict[str, Array] = {}  # constants that rules asked for
        self._names: dict[tuple[str, ...], str] = {}
        self._needed: frozenset[str] = frozenset()
        self._guard = ""  # of the nodes that are appended now
        self._guards = {name: node.guard for node in nodes for name in node.skipped_outputs}
        self._held: dict[str, int] = {}  # gradient -> how many sums it is part of: one of several must stay as it is

    def guard_of(self, name: str) -> str:
        """The guard under which alone a tensor holds something; "" if it always does."""
        return self._guards.get(name, "")

    @contextmanager
    def under(self, guard: str) -> Iterator[None]:
        """Append nodes under a guard."""
        before, self._guard = self._guard, guard
        try:
            yield
        finally:
            self._guard = before

    def otherwise(self, name: str, other: str, guard: str) -> str:
        """A tensor that holds `name` where the guard is set, and `other` where it is not."""
        if name == other:
            return name
        place = next((i for i in reversed(range(len(self.nodes))) if name in self.nodes[i].outputs), None)
        later = next((i for i in range((place or 0) + 1, len(self.nodes)) if other in self.nodes[i].outputs), None)
        if place is None or later is not None or self._held.get(name, 0) > 1 or self.guard_of(name) != guard:
            with self.under(guard):
                name, place = str(self.node("Mul", [name, self.constant(1.0)], name=f"{name}|copy")), len(self.nodes)
            place -= 1
        node = self.nodes[place]
        known = [*node.otherwise, *[""] * (len(node.outputs) - len(node.otherwise))]
        known[node.outputs.index(name)] = other
        self.nodes[place] = replace(node, otherwise=tuple(known))
        self._guards.pop(name)
        return name

    def always(self, name: str) -> str:
        """A gradient that is zero where its guard is not set."""
        guard = self.guard_of(name)
        if not guard:
            return name
        with self.under(""):
            dims = self.constant(list(self.spec(name).dims), "int64")
            zeros = str(self.node("Expand", [self.constant(0.0), dims], name=f"{name}|skipped"))
        return self.otherwise(name, zeros, guard)

    def spec(self, name: str) -> TensorSpec:
        """Static shape and dtype of a tensor."""
        return self.specs[name]

    def value(self, name: str) -> Array | None:
        """The value of a tensor that is known when the program is planned, else None."""
        if name in self.made:
            return self.made[name]
        return self.values[name] if name in self.values else None

    def wants(self, name: str) -> bool:
        """Whether a gradient with respect to this tensor is needed; rules leave the others out."""
        return name in self._needed

    def node(self, op: str, inputs: Sequence[str], outputs: int = 1, name: str = "", **attrs: Any) -> Any:
        """Append a node and infer its outputs' specs.

        outputs : how many; the result is a name if 1, else a tuple of names
        """
        stem = name or f"{inputs[0] or op}|{op}"
        made = tuple(self._fresh(stem if i == 0 else f"{stem}.{i}") for i in range(outputs))
        node = Node(op, tuple(inputs), made, find(op, stem).make_attrs(attrs, stem), stem)
        self.append(node)
        return made[0] if outputs == 1 else made

    def append(self, node: Node) -> None:
        """Append a node whose outputs have new names."""
        static = find(node.op, node.label).static_inputs
        values = [self.value(n) if n and i in static else None for i, n in enumerate(node.inputs)]
        inferred = infer(node, [self.specs[n] if n else None for n in node.inputs], values)
        self.specs.update((n, s) for n, s in zip(node.outputs, inferred, strict=False) if n)
        if self._guard and not node.guard:
            node = replace(node, guard=self._guard)
        self._guards.update(dict.fromkeys(node.skipped_outputs, node.guard))
        self.nodes.append(node)

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """The name of a constant."""
        array = np.asarray(value, dtype)
        key = (array.dtype.name, str(array.shape), array.tobytes().hex())
        if key not in self._names:
            self._names[key] = self._fresh(f"constant|{len(self.made)}")
            self.made[self._names[key]] = array
            self.specs[self._names[key]] = TensorSpec.of(array)
        return self._names[key]

    def reduced(self, gradient: str, name: str) -> str:
        """A gradient of a broadcast result, summed to the shape of the operand `name`."""
        have, want = self.spec(gradient).dims, self.spec(name).dims
        if have == want:
            return gradient
        lead = len(have) - len(want)
        axes = [i for i, dim in enumerate(have) if i < lead or (want[i - lead] == 1 and dim != 1)]
        if axes:
            gradient = self.node("ReduceSum", [gradient, self.constant(axes, "int64")], keepdims=1)
        return self.reshaped(gradient, want)

    def reshaped(self, name: str, dims: Sequence[int]) -> str:
        """The same elements in another shape."""
        if self.spec(name).dims == tuple(dims):
            return name
        return str(self.node("Reshape", [name, self.constant(list(dims), "int64")]))

    def _fresh(self, stem: str) -> str:
        name, count = stem, 1
        while name in self.specs:
            count += 1
            name = f"{stem}#{count}"
        return name

    def gradients(self, loss: str, wanted: Sequence[str]) -> dict[str, str]:
        """Append the backward pass of a scalar; the name of the gradient of each wanted tensor.

        wanted : names of tensors (variables, inputs) that the loss may depend on
        raise  : GraphError if a gradient must pass an op that has none, or a wanted tensor does not reach the loss
        """
        forward = list(self.nodes)
        self._guards.update((name, node.guard) for node in forward for name in node.skipped_outputs)
        self._needed = _reached_by(forward, wanted)
        if loss not in self._needed:
            raise GraphError(
                f"loss {loss}: expected it to depend on {', '.join(wanted) or 'something trained'}, got a loss that "
                "does not; train a layer that is used"
            )
        sums = Sums()
        sums.add(loss, self.constant(np.ones(self.spec(loss).dims, np.float32)))
        self._walk(forward, sums)
        missing = [name for name in wanted if name not in sums]
        if missing:
            raise GraphError(
                f"loss {loss}: expected it to depend on {missing[0]}, got no path between them; freeze {missing[0]}"
            )
        return {name: self._total(sums, name) for name in wanted}

    def through(self, node: Node, build: Callable[[], Sequence[str]], gradients: Sequence[str]) -> list[str]:
        """Gradients of a node's inputs through simpler nodes that compute the same.

        build : appends them; the names of the outputs
        """
        start, sums = len(self.nodes), Sums()
        for output, grad_y in zip(build(), gradients, strict=False):
            if grad_y:
                sums.add(output, grad_y, self._guard)
        own = self.nodes[start:]
        self._needed |= _reached_by(own, self._needed)
        self._walk(own, sums)
        first = {
            name: index for index, name in reversed(list(enumerate(node.inputs)))
        }  # the total is that of all places
        return [
            self._total(sums, name) if name and self.wants(name) and first[name] == index else ""
            for index, name in enumerate(node.inputs)
        ]

    def _walk(self, nodes: Sequence[Node], sums: Sums) -> None:
        """Append the gradients of nodes, the last one first; `sums` has what flows into each tensor's gradient."""
        for node in reversed(nodes):
            outputs = tuple(self._total(sums, name) for name in node.outputs)
            if not any(outputs) or not any(self.wants(name) for name in node.reads):
                continue
            assert not node.fused, f"{node.label}: the backward pass is built before epilogues are fused"
            guards = {self.guard_of(name) for name in outputs if name} | ({node.guard} - {""})
            if len(guards - {""}) > 1 or (not node.guard and len(guards) > 1):
                outputs, guards = tuple(map(self.always, outputs)), {node.guard}
            guard = next(iter(guards - {""}), "")
            with self.under(guard):
                found = rule_of(node)(self, node, outputs)
            for name, gradient in zip(node.inputs, found, strict=True):
                if gradient and self.wants(name):
                    assert self.spec(gradient) == self.spec(name), (node.label, name, gradient)
                    self._held[gradient] = self._held.get(gradient, 0) + 1
                    sums.add(name, gradient, guard)
            for name, grad_y in zip(node.otherwise, outputs, strict=False):
                if name and grad_y and self.wants(name):
                    sums.pass_by(name, self.always(grad_y), guard)

    def _total(self, sums: Sums, name: str) -> str:
        """The sum of what flowed into a tensor's gradient; it is made once.

        What guarded nodes gave counts where they run; where they are skipped, the gradient of what the tensor stands for
        does. The sum is under a guard if nothing else flows in.
        """
        if name not in sums:
            return ""
        own = self.guard_of(name)
        groups, passed = sums.parts[name], sums.passed.get(name, {})
        total = self._sum(groups.pop(own, []), own)
        late: dict[str, str] = {}
        for guard in dict.fromkeys((*groups, *passed)):
            inside, outside = self._sum(groups.get(guard, []), guard), self._sum(passed.get(guard, []), "")
            if not outside:
                late[guard] = inside
                continue
            if not inside:
                with self.under(guard):
                    dims = self.constant(list(self.spec(name).dims), "int64")
                    inside = str(self.node("Expand", [self.constant(0.0), dims], name=f"{name}|skipped"))
            whole = self.otherwise(inside, outside, guard)
            total = self._sum([total, whole], "") if total else whole
        for guard, inside in late.items():
            if total:
                total = self.otherwise(self._sum([total, inside], guard), total, guard)
            else:
                total, own = self._under_own(inside, guard), guard
                if len(late) > 1:
                    total, own = self.always(total), ""
        sums.parts[name], sums.passed[name] = {own: [total]}, {}
        return total

    def _under_own(self, name: str, guard: str) -> str:
        """A tensor that is made under the guard."""
        if self.guard_of(name) == guard:
            return name
        with self.under(guard):
            return str(self.node("Mul", [name, self.constant(1.0)], name=f"{name}|copy"))

    def _sum(self, parts: Sequence[str], guard: str) -> str:
        """The sum of tensors, made under a guard; "" of none."""
        total = parts[0] if parts else ""
        with self.under(guard):
            for part in parts[1:]:
                total = str(self.node("Add", [total, part]))
        return total


class Sums:
    """What flows into the gradient of each tensor.

    parts  : tensor -> guard of the nodes that gave it ("" for those that always run) -> gradients
    passed : tensor -> guard -> gradients of what the tensor stands for where the guard is not set
    """

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, list[str]]] = {}
        self.passed: dict[str, dict[str, list[str]]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self.parts

    def add(self, name: str, gradient: str, guard: str = "") -> None:
        """What a node gives."""
        self.parts.setdefault(name, {}).setdefault(guard, []).append(gradient)

    def pass_by(self, name: str, gradient: str, guard: str) -> None:
        """What flows past a skipped node."""
        self.parts.setdefault(name, {})
        self.passed.setdefault(name, {}).setdefault(guard, []).append(gradient)


def _reached_by(nodes: Sequence[Node], sources: Iterable[str]) -> frozenset[str]:
    """The tensors that depend on any of the sources."""
    reached = set(sources)
    for node in nodes:
        if any(name in reached for name in node.reads):
            reached.update(name for name in node.outputs if name)
    return frozenset(reached)
