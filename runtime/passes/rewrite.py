"""A graph being rewritten: nodes that can be replaced, new constants, and the writer and readers of each tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.ops.contract import find


def make_node(op: str, inputs: list[str], output: str, name: str = "", **attrs: Any) -> Node:
    """A node with one output; attributes that are not given have their defaults."""
    return Node(op, tuple(inputs), (output,), find(op, name or output).make_attrs(attrs, name or output), name)


class Rewrite:
    """The nodes of a graph by their first output. Exchange them in any order: `graph` sorts them.

    guarded : whether nodes with a guard are shown as makers, as lone readers and in `nodes`; a pass that does not ask for
              them leaves them as they are
    """

    def __init__(self, graph: Graph, guarded: bool = False) -> None:
        self._graph, self._guarded = graph, guarded
        self._nodes: dict[str, Node] = {}
        self._places: dict[str, float] = {}
        self._makers: dict[str, str] = {}  # tensor -> key of its node
        self._readers: dict[str, dict[str, int]] = {}  # tensor -> keys of the nodes that read it, and how often
        self._new: dict[str, Array] = {}
        self.changes = 0
        for place, node in enumerate(graph.nodes):
            self._insert(node, place)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's outputs."""
        return self._graph.outputs

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The graph's inputs."""
        return self._graph.inputs

    def nodes(self, *ops: str) -> Iterator[Node]:
        """The nodes (of these ops) in order; nodes that were replaced meanwhile are skipped."""
        for key in sorted(self._nodes, key=self._places.__getitem__):
            node = self._nodes.get(key)
            if self._shown(node, ops):
                yield node

    def holds(self, node: Node) -> bool:
        """Whether the node is still there, unchanged."""
        return self._nodes.get(_key(node)) is node

    def place(self, node: Node) -> float:
        """Where the node stands in the order."""
        return self._places[_key(node)]

    def maker(self, tensor: str, *ops: str) -> Node | None:
        """The node that makes a tensor, if there is one (of these ops)."""
        key = self._makers.get(tensor)
        node = self._nodes[key] if key is not None else None
        return node if self._shown(node, ops) else None

    def _shown(self, node: Node | None, ops: tuple[str, ...]) -> TypeGuard[Node]:
        return node is not None and (self._guarded or not node.guard) and (not ops or node.op in ops)

    def readers(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor."""
        return [self._nodes[key] for key in self._readers.get(tensor, ())]

    def only_reader(self, tensor: str, *ops: str) -> Node | None:
        """The node that alone reads a tensor, once, if it is (of these ops and) the tensor is no output."""
        readers = self._readers.get(tensor, {})
        if tensor in self.outputs or len(readers) != 1 or sum(readers.values()) != 1:
            return None
        node = self._nodes[next(iter(readers))]
        return node if self._shown(node, ops) else None

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is a constant."""
        return tensor in self._new or tensor in self._graph.constants

    def is_known(self, tensor: str) -> bool:
        """Whether there is a tensor of that name."""
        return tensor in self._makers or tensor in self.inputs or self.is_constant(tensor)

    def value(self, tensor: str) -> Array | None:
        """A constant's value."""
        if tensor in self._new:
            return self._new[tensor]
        return self._graph.constants[tensor] if tensor in self._graph.constants else None

    def scalar(self, tensor: str) -> float | None:
        """The value of a constant of one element."""
        if tensor in self._new or (tensor in self._graph.constants and self._graph.constants.spec(tensor).size == 1):
            value = self.value(tensor)
            if value is not None and value.size == 1:
                return float(value.reshape(()))
        return None

    def integers(self, tensor: str) -> tuple[int, ...] | None:
        """The values of a constant vector of integers."""
        value = self.value(tensor) if tensor else None
        return None if value is None or value.dtype.kind not in "iu" else tuple(int(v) for v in value.reshape(-1))

    def fresh(self, hint: str) -> str:
        """A tensor name that nothing has yet."""
        name, count = hint, 1
        while name in self._makers or self.is_constant(name) or name in self.inputs or name in self._readers:
            count += 1
            name = f"{hint}.{count}"
        return name

    def constant(self, hint: str, array: Array) -> str:
        """Add a constant; returns its name."""
        name = self.fresh(hint)
        self._new[name] = array
        return name

    def define(self, name: str, array: Array) -> None:
        """Let a constant stand for a tensor whose node is gone."""
        self._new[name] = array

    def exchange(self, old: list[Node], new: list[Node]) -> None:
        """Put nodes in the place of others; the last of the old ones gives the place. The new ones have the guard of the old."""
        new = _under_guard(old, new)
        place = max(self._places[_key(node)] for node in old)
        for node in old:
            self._remove(node)
        for offset, node in enumerate(new):
            self._insert(node, place + offset / (len(new) + 1))
        self.changes += 1

    def redirect(self, tensor: str, other: str) -> None:
        """Let every reader of a tensor read another one."""
        for node in self.readers(tensor):
            self.exchange([node], [renamed(node, lambda name: other if name == tensor else name)])

    def bypass(self, node: Node, source: str) -> bool:
        """Drop a node whose first output equals the tensor `source`; False if both names must stay."""
        output = node.outputs[0]
        if output not in self.outputs:
            self.redirect(output, source)
            self._remove(node)
            self.changes += 1
            return True
        maker = self.maker(source)
        if maker is None or source in self.outputs:  # an input or constant that is also an output: keep the copy
            return False
        self._remove(node)
        self.redirect(source, output)
        self.exchange([maker], [renamed(maker, lambda name: output if name == source else name)])
        return True

    def graph(self) -> Graph:
        """The graph as it is now: nodes sorted, constants that nothing reads dropped."""
        order = self._sorted()
        read = {name for node in order for name in node.reads} | set(self.outputs)
        pool = self._graph.constants
        if self._new or any(name not in read for name in pool):
            kept = Arrays({name: pool[name] for name in pool if name in read})
            kept.update((name, value) for name, value in self._new.items() if name in read)
            return replace(self._graph, nodes=tuple(order), constants=kept)
        return replace(self._graph, nodes=tuple(order))

    def _sorted(self) -> list[Node]:
        """Every node after those that it reads from, otherwise in the given order."""
        done: dict[str, None] = {}
        for start in sorted(self._nodes, key=self._places.__getitem__):
            stack = [start]
            while stack:
                key = stack[-1]
                makers = (self._makers.get(name) for name in self._nodes[key].reads)
                waiting = [maker for maker in makers if maker is not None and maker not in done and maker != key]
                if waiting and key not in done:
                    stack += waiting[::-1]
                else:
                    done[stack.pop()] = None
        return [self._nodes[key] for key in done]

    def _insert(self, node: Node, place: float) -> None:
        key = _key(node)
        self._nodes[key], self._places[key] = node, place
        for name in node.outputs:
            if name:
                self._makers[name] = key
        for name in node.reads:
            counts = self._readers.setdefault(name, {})
            counts[key] = counts.get(key, 0) + 1

    def _remove(self, node: Node) -> None:
        key = _key(node)
        del self._nodes[key]
        for name in node.outputs:
            if self._makers.get(name) == key:
                del self._makers[name]
        for name in node.reads:
            self._readers[name].pop(key, None)


def renamed(node: Node, name_of: Callable[[str], str]) -> Node:
    """A node with other tensor names, those in its epilogue included."""
    body = node.body_output
    inputs, outputs = tuple(map(name_of, node.inputs)), tuple(map(name_of, node.outputs))
    node_now = replace(node, inputs=inputs, outputs=outputs, fused=())
    if node.guard:
        otherwise = tuple(name_of(name) if name else "" for name in node.otherwise)
        node_now = replace(node_now, guard=name_of(node.guard), otherwise=otherwise)
    if not node.fused:
        return node_now
    new_body = f"{outputs[0]}|body"
    stages = tuple(renamed(stage, lambda name: new_body if name == body else name_of(name)) for stage in node.fused)
    return replace(node_now, fused=stages)


def _under_guard(old: list[Node], new: list[Node]) -> list[Node]:
    """The new nodes under the guard that the old ones share; what makes an output says what it is otherwise."""
    guards = {node.guard for node in old}
    if guards == {""}:
        return new
    assert len(guards) == 1, f"{old[0].label}: nodes of different guards cannot be exchanged together"
    kept = {name: other for node in old for name, other in zip(node.outputs, node.otherwise, strict=False) if other}
    return [
        node if node.guard
        else replace(node, guard=old[0].guard, otherwise=tuple(kept.get(name, "") for name in node.outputs) if kept else ())
        for node in new
    ]  # fmt: skip


def _key(node: Node) -> str:
    return next(name for name in node.outputs if name)
