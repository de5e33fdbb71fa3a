"""Channels last throughout: move Transposes down the graph until they meet their inverse.

The importer puts each spatial op between two Transposes. Adjacent inverses vanish. A Transpose before an op that works in
any axis order changes places with it (the rules are in `transposes.py`). What is left is the Transpose of a channels-first
input or output, and those of the network itself.
"""

from __future__ import annotations

import numpy as np

from alula.runtime.graph import Dim, Graph, Node, TensorSpec
from alula.runtime.passes.dead_code import drop_dead_code
from alula.runtime.passes.names import CHANNELS_LAST
from alula.runtime.passes.rewrite import Rewrite, make_node
from alula.runtime.passes.shapes import Shapes
from alula.runtime.passes.transposes import (
    RULES,
    Change,
    Perm,
    constant_target,
    data_inputs,
    gathered,
    inverse,
    is_pointwise,
    rule_for,
    to_first,
)


def transpose_channels_last(graph: Graph) -> Graph:
    """Move the Transposes (N, *spatial, C) -> (N, C, *spatial) down, and remove pairs that cancel."""
    return drop_dead_code(_Layout(graph).result())


def fix_reshapes(graph: Graph) -> Graph:
    """Give a Reshape whose target follows from its input's shape a constant one: 0 copies, -1 is what is left."""
    shapes, rewrite = Shapes(graph), Rewrite(graph)
    for node in rewrite.nodes("Reshape"):
        target = constant_target(node, shapes)
        if target is not None and not node.attrs.allowzero and not rewrite.is_constant(node.inputs[1]):
            name = rewrite.constant(f"{node.outputs[0]}.shape", np.array(target, np.int64))
            rewrite.exchange([node], [make_node("Reshape", [node.inputs[0], name], node.outputs[0], node.name)])
    return drop_dead_code(rewrite.graph())


class _Layout:
    def __init__(self, graph: Graph) -> None:
        self.rewrite, self.shapes = Rewrite(graph), Shapes(graph)

    def result(self) -> Graph:
        """Every rule wherever it applies, until none does."""
        before = -1
        while before != self.rewrite.changes:
            before = self.rewrite.changes
            for node in self.rewrite.nodes():  # in order: a pair that can cancel does so before either is moved on
                if node.op == "Transpose":
                    self._simplify(node)
                elif node.op in ("Shape", "Size"):
                    self._look_through(node)
                else:
                    if node.op == "Reshape":
                        self._order(node)
                    self._push(node)
            for node in self.rewrite.nodes("Transpose"):
                self._pull(node)
        return self.rewrite.graph()

    def _perm(self, node: Node | None) -> Perm | None:
        """The permutation of a Transpose."""
        if node is None or node.op != "Transpose" or node.fused or node.guard:
            return None
        if node.attrs.perm is not None:
            return tuple(node.attrs.perm)
        rank = self.shapes.rank(node.inputs[0])
        return None if rank is None else tuple(reversed(range(rank)))

    def _simplify(self, node: Node) -> None:
        """Merge a Transpose with the one before it, and with another one of the same tensor."""
        perm, maker = self._perm(node), self.rewrite.maker(node.inputs[0], "Transpose")
        first = self._perm(maker)
        if perm is None:
            return
        if maker is not None and first is not None:
            both = tuple(first[axis] for axis in perm)
            if both == tuple(range(len(both))):
                self.rewrite.bypass(node, maker.inputs[0])
            else:
                merged = make_node("Transpose", [maker.inputs[0]], node.outputs[0], node.name, perm=both)
                self.rewrite.exchange([node], [merged])
            return
        for twin in self.rewrite.readers(node.inputs[0]):
            if twin is not node and self._perm(twin) == perm and self.rewrite.holds(twin):
                if twin.outputs[0] not in self.rewrite.outputs and self.rewrite.holds(node):
                    self.rewrite.redirect(twin.outputs[0], node.outputs[0])
                    self.rewrite.exchange([twin], [])

    def _look_through(self, node: Node) -> None:
        """Shape and Size of a transposed tensor from the tensor before it."""
        maker = self.rewrite.maker(node.inputs[0], "Transpose")
        perm = self._perm(maker)
        if maker is None or perm is None:
            return
        x, output = maker.inputs[0], node.outputs[0]
        if node.op == "Size":
            self.rewrite.exchange([node], [make_node("Size", [x], output, node.name)])
            return
        whole = self.rewrite.fresh(f"{output}.transposed")
        axes = self.rewrite.constant(f"{output}.axes", np.array(perm[node.attrs.start : node.attrs.end], np.int64))
        new = [make_node("Shape", [x], whole), make_node("Gather", [whole, axes], output, node.name, axis=0)]
        self.rewrite.exchange([node], new)
        self.shapes.put(whole, TensorSpec((len(perm),), "int64"))

    def _order(self, node: Node) -> None:
        """Let a Reshape that merges axes change places with a Transpose that brings them together: a shuffle of channels.

        The axes that are merged get their order first, by a Transpose that stays; the rest of the permutation moves on.
        """
        maker = self.rewrite.maker(node.inputs[0], "Transpose")
        perm = self._perm(maker)
        before, after = self.shapes.shape(node.inputs[0]), self.shapes.shape(node.outputs[0])
        if maker is None or perm is None or before is None or after is None or node.attrs.allowzero:
            return
        order = gathered(before, after, perm)
        rest = tuple(order.index(axis) for axis in perm)
        if tuple(range(len(order))) in (order, rest) or len(after) < 4:
            return
        ordered = self.rewrite.fresh(f"{maker.inputs[0]}.ordered")
        x = self.shapes.spec(maker.inputs[0])
        change = RULES["Reshape"](self.rewrite, self.shapes, node, rest)
        if change is None or x is None or change.perms[0] != to_first(len(after)):
            return
        self.shapes.put(ordered, TensorSpec(_permuted(x.shape, order), x.dtype))
        self._apply(node, change, {0: ordered}, {ordered: make_node("Transpose", [maker.inputs[0]], ordered, perm=order)})

    def _push(self, node: Node) -> None:
        """Let a node change places with the Transposes in front of it."""
        makers = [self.rewrite.maker(node.inputs[index], "Transpose") for index in data_inputs(node) if node.inputs]
        perm = next((p for p in map(self._perm, makers) if p is not None and p == to_first(len(p))), None)
        if perm is None:
            return
        gained = lost = 0
        for index, maker in zip(data_inputs(node), makers, strict=True):
            if self._perm(maker) == perm:
                gained += maker is not None and self.rewrite.only_reader(maker.outputs[0]) is not None
            elif not self._is_free(node.inputs[index], perm):
                lost += 1
        if lost:  # worth it only if the Transposes after the node vanish as well
            behind = self.rewrite.readers(node.outputs[0])
            cancelled = [self._perm(reader) == inverse(perm) for reader in behind]
            if not cancelled or gained + sum(cancelled) <= lost + (not all(cancelled)):
                return
        self._change(node, perm)

    def _pull(self, node: Node) -> None:
        """Let a Transpose to channels last change places with a lone node in front of it, near the inputs mostly."""
        perm, maker = self._perm(node), self.rewrite.maker(node.inputs[0])
        if perm is None or maker is None or len(perm) < 4 or perm != inverse(to_first(len(perm))):
            return  # of three dimensions, one permutation goes both ways: it would be pushed down again
        if self.rewrite.only_reader(node.inputs[0]) is not node or len(maker.outputs) != 1:
            return
        data = [maker.inputs[i] for i in data_inputs(maker)] if maker.inputs else []
        moving = [name for name in data if not self._is_free(name, inverse(perm))]
        if (is_pointwise(maker) or maker.op == "Pad") and len(moving) == 1:
            self._change(maker, inverse(perm))

    def _is_free(self, name: str, perm: Perm) -> bool:
        """Whether an operand needs no Transpose of its own: it is a constant, or all ones."""
        return self.rewrite.is_constant(name) or self._stays(name, perm)

    def _stays(self, name: str, perm: Perm) -> bool:
        """Whether an operand means the same in both orders."""
        shape = self.shapes.shape(name)
        if shape is None:
            return False
        dims = _aligned(shape, len(perm))
        return dims is not None and all(dim == 1 or perm[axis] == axis for axis, dim in enumerate(dims))

    def _source(self, name: str, perm: Perm, made: dict[str, Node]) -> str | None:
        """The operand as the transposed node must read it; adds a Transpose to `made` if needed."""
        maker = self.rewrite.maker(name, "Transpose")
        if maker is not None and self._perm(maker) == perm:
            return maker.inputs[0]
        if self._stays(name, perm):
            return name
        shape = self.shapes.shape(name)
        dims = None if shape is None else _aligned(shape, len(perm))
        value = self.rewrite.value(name)
        if value is not None and dims is not None:
            transposed = value.reshape([int(dim) for dim in dims]).transpose(inverse(perm))
            first = next((axis for axis, size in enumerate(transposed.shape) if size != 1), transposed.ndim - 1)
            return self.rewrite.constant(
                f"{name}{CHANNELS_LAST}", np.ascontiguousarray(transposed.reshape(transposed.shape[first:]))
            )
        if shape is None or len(shape) != len(perm):
            return None
        if name not in made:
            made[name] = make_node(
                "Transpose", [name], self.rewrite.fresh(f"{name}{CHANNELS_LAST}"), perm=inverse(perm)
            )
        return made[name].outputs[0]

    def _change(self, node: Node, perm: Perm) -> None:
        """Rewrite a node to read its inputs from before `perm`, and transpose its outputs by what its rule says."""
        rule = rule_for(node)
        change = rule(self.rewrite, self.shapes, node, perm) if rule else None
        if change is None or not all(
            self._is_welcome(p, out) for p, out in zip(change.perms, node.outputs, strict=True)
        ):
            return
        made: dict[str, Node] = {}
        sources: dict[int, str] = {}
        for index in data_inputs(node):
            source = self._source(node.inputs[index], perm, made)
            if source is None:
                return
            sources[index] = source
        self._apply(node, change, sources, made)

    def _apply(self, node: Node, change: Change, sources: dict[int, str], made: dict[str, Node]) -> None:
        names = [self._inner(name, perm) for name, perm in zip(node.outputs, change.perms, strict=True)]
        behind = []
        for name, inner, perm in zip(node.outputs, names, change.perms, strict=True):
            if inner != name:
                behind.append(make_node("Transpose", [inner], name, perm=perm))
                spec = self.shapes.spec(name)
                if spec is not None:
                    self.shapes.put(inner, TensorSpec(_permuted(spec.shape, inverse(perm)), spec.dtype))
        for transpose in made.values():
            spec, order = self.shapes.spec(transpose.inputs[0]), transpose.attrs.perm
            if spec is not None:
                self.shapes.put(transpose.outputs[0], TensorSpec(_permuted(spec.shape, order), spec.dtype))
        self.rewrite.exchange([node], [*made.values(), *change.before, change.apply(node, sources, names), *behind])

    def _inner(self, name: str, perm: Perm) -> str:
        """The name of a transposed output."""
        if not name or perm == tuple(range(len(perm))):
            return name
        return self.rewrite.fresh(f"{name}{CHANNELS_LAST}" if perm == to_first(len(perm)) else f"{name}.transposed")

    def _is_welcome(self, perm: Perm, output: str) -> bool:
        """Whether a Transpose by `perm` after a node moves further down, vanishes, or becomes one with the next."""
        if perm in (to_first(len(perm)), tuple(range(len(perm)))):
            return True
        return self._perm(self.rewrite.only_reader(output, "Transpose")) is not None


def _aligned(shape: tuple[Dim, ...], rank: int) -> tuple[Dim, ...] | None:
    """A shape with ones in front up to `rank` dimensions."""
    return (1,) * (rank - len(shape)) + shape if len(shape) <= rank else None


def _permuted(dims: tuple[Dim, ...], perm: Perm) -> tuple[Dim, ...]:
    return tuple(dims[axis] for axis in perm)
