"""If nodes written out: the nodes of both branches stand in the graph itself, each under its branch's flag.

What is left of an If chooses between tensors of the graph, so ONNX still infers the shapes of what it gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alula.host.onnx.steps import fresh
from alula.runtime.errors import GraphError

if TYPE_CHECKING:
    import onnx


@dataclass
class Chosen:
    """One If.

    flags : one for each branch
    outer : the flag of the branch in which it stands itself; "" if in none
    zero  : a name for a constant 0: what the flags are where the outer one is not set
    """

    condition: str
    flags: tuple[str, str]
    outer: str
    zero: str
    name: str
    values: dict[str, tuple[str, str]] = field(default_factory=dict)  # output -> the tensors of the two branches


@dataclass
class Branches:
    """The Ifs of a model.

    ifs    : by the name of the If's first output
    owners : by flag
    guards : the flag under which a node stands, by the name of its first output
    """

    ifs: dict[str, Chosen] = field(default_factory=dict)
    owners: dict[str, Chosen] = field(default_factory=dict)
    guards: dict[str, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)  # of tensors that were there before functions were written out

    def owner(self, node: onnx.NodeProto) -> Chosen | None:
        """The If that a node is the rest of, or else the innermost one in which it stands."""
        return self.ifs[_first(node)] if self.is_rest(node) else self.owners.get(self.guard(node))

    def is_rest(self, node: onnx.NodeProto) -> bool:
        """Whether a node is what is left of an If."""
        return node.op_type == "If" and _first(node) in self.ifs

    def guard(self, node: onnx.NodeProto) -> str:
        """The flag of the branch in which a node stands; "" if it stands in none."""
        return self.guards.get(_first(node), "")

    def waits_for(self, node: onnx.NodeProto) -> Iterator[str]:
        """What must be there before a node, besides its inputs: conditions of Ifs in which it stands, what an If chooses from."""
        if self.is_rest(node):
            for pair in self.ifs[_first(node)].values.values():
                yield from pair
        flag = self.guard(node)
        while flag:
            yield self.owners[flag].condition
            flag = self.owners[flag].outer

    def adopt(self, model: onnx.ModelProto) -> None:
        """Let nodes that were written out of a branch's node stand in the same branch: they make what others there read."""
        readers: dict[str, set[str]] = {}
        for node in reversed(model.graph.node):
            first, seen = _first(node), {flag for name in node.output for flag in readers.get(name, ())}
            outside = {info.name for info in model.graph.output} & set(node.output)
            if first not in self.guards and len(seen) == 1 and not outside and first not in self._names:
                self.guards[first] = next(iter(seen))
            for name in node.input:
                readers.setdefault(name, set()).add(self.guards.get(first, ""))
        self._names |= {name for node in model.graph.node for name in node.output}

    def know(self, model: onnx.ModelProto) -> None:
        """Note the tensors that there are now."""
        self._names = {name for node in model.graph.node for name in node.output}


def write_branches(model: onnx.ModelProto, branches: Branches, where: str) -> onnx.ModelProto:
    """A model in which the branches of every If are part of the graph, under names that nothing else has.

    branches : those that have been written; new ones are added
    raise : GraphError if an If is damaged or nested too deep
    """
    import onnx

    if all(node.op_type != "If" or _first(node) in branches.ifs for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    _Writer(copy, branches, where).write(model.graph.node, {}, "")
    branches.know(copy)
    return copy


class _Writer:
    """Appends nodes to a model's graph, those of branches with new names."""

    def __init__(self, model: onnx.ModelProto, branches: Branches, where: str) -> None:
        self.graph, self.branches, self.where = model.graph, branches, where
        self.taken = {info.name for info in (*model.graph.input, *model.graph.output)} | {""}
        self.taken |= {tensor.name for tensor in model.graph.initializer}
        self.taken |= {sparse.values.name for sparse in model.graph.sparse_initializer}

    def write(self, nodes: list[onnx.NodeProto], names: dict[str, str], flag: str) -> None:
        """Append nodes.

        names : what the tensors of the branch and of those around it are called now
        """
        if flag == "":
            self.taken |= {name for node in nodes for name in node.output}
        for node in nodes:
            new = self.graph.node.add()
            new.CopyFrom(node)
            if flag:
                new.input[:] = [names.get(name, name) for name in node.input]
                new.output[:] = [names[name] if name else "" for name in node.output]
            if node.op_type == "If" and node.domain in ("", "ai.onnx") and _first(new) not in self.branches.ifs:
                del self.graph.node[-1]
                self._write_if(new, names, flag or self.branches.guard(new))
            elif flag:
                self.branches.guards[_first(new)] = flag

    def _write_if(self, node: onnx.NodeProto, names: dict[str, str], flag: str) -> None:
        import onnx

        label = f"{self.where}: {node.name or _first(node) or '?'} (If)"
        arms = {attribute.name: attribute.g for attribute in node.attribute if attribute.type == attribute.GRAPH}
        if sorted(arms) != ["else_branch", "then_branch"] or len(node.input) != 1 or not _first(node):
            raise GraphError(
                f"{label}: expected a condition, a then_branch and an else_branch, got others; the file is damaged"
            )
        first = _first(node)
        flags = (self._fresh(f"{first}.then"), self._fresh(f"{first}.else"))
        chosen = Chosen(node.input[0], flags, flag, self._fresh(f"{first}.zero") if flag else "", node.name)
        self.branches.ifs[first] = chosen
        self.branches.owners.update(dict.fromkeys(chosen.flags, chosen))
        made = [
            self._arm(arms[name], names, own, label, len(node.output))
            for name, own in zip(("then_branch", "else_branch"), chosen.flags, strict=True)
        ]
        for output, then, other in zip(node.output, *made, strict=True):
            if output:
                chosen.values[output] = (then, other)
        outputs = [name for name in node.output if name]
        left = self.graph.node.add()
        left.CopyFrom(onnx.helper.make_node("If", list(node.input), outputs, node.name))
        for name, index in (("then_branch", 0), ("else_branch", 1)):
            chooses = [onnx.helper.make_node("Identity", [chosen.values[o][index]], [f"{o}.{name}"]) for o in outputs]
            infos = [onnx.ValueInfoProto(name=f"{o}.{name}") for o in outputs]
            left.attribute.append(onnx.helper.make_attribute(name, onnx.helper.make_graph(chooses, name, [], infos)))

    def _arm(self, graph: onnx.GraphProto, around: dict[str, str], flag: str, label: str, n_outputs: int) -> list[str]:
        """Write the nodes of one branch; the names of its outputs."""
        if len(graph.output) != n_outputs:
            raise GraphError(
                f"{label}: expected {n_outputs} outputs of each branch, got {len(graph.output)}; the file is damaged"
            )
        names = dict(around)
        for tensor in graph.initializer:
            new = self.graph.initializer.add()
            new.CopyFrom(tensor)
            new.name = names[tensor.name] = self._fresh(tensor.name)
        for sparse in graph.sparse_initializer:
            other = self.graph.sparse_initializer.add()
            other.CopyFrom(sparse)
            other.values.name = names[sparse.values.name] = self._fresh(sparse.values.name)
        for node in graph.node:
            names.update((name, self._fresh(name)) for name in node.output if name)
        self.write(graph.node, names, flag)
        return [names.get(info.name, info.name) for info in graph.output]

    def _fresh(self, hint: str) -> str:
        return fresh(hint, self.taken)


def _first(node: onnx.NodeProto) -> str:
    return next((name for name in node.output if name), "")
