"""Branches whose condition is known before the model runs: from constants, or from sizes that are the same for every input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alula.runtime.graph import Array, Graph, Node
from alula.runtime.ops.contract import NoAttrs, find
from alula.runtime.passes.dead_code import drop_dead_code
from alula.runtime.passes.shapes import SMALL, Shapes

# Ops that move elements: what moves is known where it came from something known
MOVING = frozenset({"Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})


def decide_branches(graph: Graph) -> Graph:
    """Keep the branch that is taken of each Branch whose condition is known; it runs under the guard of the Branch."""
    if not any(node.op == "Branch" for node in graph.nodes):
        return graph
    known = _Known(graph)
    same: dict[str, str] = {}  # flag -> the guard, or "", that it is equal to
    dead: dict[str, str] = {}  # flag that is never set -> the guard of its Branch
    nodes: list[Node] = []
    for node in graph.nodes:
        guard = same.get(node.guard, node.guard)
        if node.op == "Branch" and guard in dead:
            dead.update(dict.fromkeys(node.outputs, guard))
        elif node.op == "Branch" and (condition := known.value(node.inputs[0])) is not None:
            flag, other = node.outputs if condition.any() else reversed(node.outputs)
            same[flag], dead[other] = guard, guard
        elif guard in dead:
            outer = dead[guard]
            nodes += [
                Node("Identity", (other,), (name,), NoAttrs(), node.name, guard=outer)
                for name, other in zip(node.outputs, node.otherwise, strict=False)
                if other and outer not in dead
            ]
        else:
            always = not guard or (guard != node.guard and node.op != "Branch")
            nodes.append(replace(node, guard=guard, otherwise=() if always else node.otherwise))
    return drop_dead_code(graph.with_nodes(nodes)) if same else graph


class _Known:
    """Values that are the same for every input, element by element: of Shape, the sizes that are not free."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._shapes = graph, Shapes(graph)
        self._found: dict[str, tuple[Array, Array]] = {}  # tensor -> its value, and which elements are known
        for node in graph.nodes:
            found = self._visit(node) if not node.guard or not any(node.otherwise) else None
            if found is not None:
                self._found[node.outputs[0]] = found

    def value(self, name: str) -> Array | None:
        """The value of a tensor, if all of it is known."""
        found = self._get(name)
        return found[0] if found is not None and found[1].all() else None

    def _get(self, name: str) -> tuple[Array, Array] | None:
        constants = self._graph.constants
        if name in constants and constants.spec(name).size <= SMALL:
            return constants[name], np.ones(constants.spec(name).dims, bool)
        return self._found.get(name)

    def _visit(self, node: Node) -> tuple[Array, Array] | None:
        if node.fused or len(node.outputs) != 1 or node.op.startswith("Random"):
            return None
        if node.op in ("Shape", "Size"):
            shape = self._shapes.shape(node.inputs[0])
            if shape is None or (node.op == "Size" and not all(isinstance(dim, int) for dim in shape)):
                return None
            if node.op == "Size":
                return np.array(np.prod([int(dim) for dim in shape]), np.int64), np.ones((), bool)
            part = shape[node.attrs.start or 0 : node.attrs.end]
            return np.array([dim if isinstance(dim, int) else 0 for dim in part], np.int64), np.array(
                [isinstance(dim, int) for dim in part], bool
            )
        found = [self._get(name) if name else None for name in node.inputs]
        if not found or any(each is None for each, name in zip(found, node.inputs, strict=True) if name):
            return None
        values = [None if each is None else each[0] for each in found]
        masks = [None if each is None else each[1] for each in found]
        op, moved = find(node.op, node.label), len(found) if node.op == "Concat" else 1
        if node.op not in MOVING:
            moved = 0
        if not all(mask is None or mask.all() for mask in masks[moved:]):
            return None
        (value,) = op.reference(node.attrs, *values)
        if not moved:
            return value, np.ones(value.shape, bool)
        (mask,) = op.reference(node.attrs, *masks[:moved], *values[moved:])
        return value, mask
