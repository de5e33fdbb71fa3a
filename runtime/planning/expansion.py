"""Ops that become simpler ones when all shapes are fixed, so that kernels run them and gradients exist.

A rule (`expand*.py` in its op's room) reads the specs of a node's inputs and appends nodes to an `Expansion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.ops.contract import NoAttrs, find
from alula.runtime.ops.rules import Rules


class Expansion:
    """What stands for one node.

    specs  : of the node's inputs; None where one is absent
    known  : values that are known when the program is planned, by name
    nodes, constants : what the rule appends
    """

    def __init__(self, node: Node, specs: Sequence[TensorSpec | None], known: Mapping[str, Array]) -> None:
        self.node, self.specs, self.known = node, specs, known
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}

    def add(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Append a node of one output; returns the output's name."""
        name = self._name(op)
        made = find(op, self.node.label).make_attrs(attrs, self.node.label)
        self.nodes.append(Node(op, inputs, (name,), made, self.node.name, guard=self.node.guard))
        return name

    def constant(self, value: Any, dtype: str) -> str:
        """The name of a new constant."""
        name = self._name("constant")
        self.constants[name] = np.asarray(value, dtype)
        return name

    def reshaped(self, name: str, dims: Sequence[int]) -> str:
        """The same elements in another shape."""
        return self.add("Reshape", name, self.constant(list(dims), "int64"))

    def _name(self, part: str) -> str:
        return f"{self.node.outputs[0]}|{part}{len(self.nodes) + len(self.constants)}"

    def ending(self, result: str) -> list[Node]:
        """The nodes, the last of which makes the node's output from `result`."""
        node = self.node
        last = self.nodes[-1] if self.nodes and self.nodes[-1].outputs == (result,) else None
        if last is None:
            last = Node("Identity", (result,), (), NoAttrs(), node.name, guard=node.guard)
            self.nodes.append(last)
        self.nodes[-1] = replace(last, outputs=node.outputs, otherwise=node.otherwise)
        return self.nodes


# Appends nodes and returns the tensor that is the node's output; None: the node stays as it is
Rule = Callable[[Expansion], str | None]
RULES: Rules[Rule] = Rules("expand")
expands = RULES.add
