"""How an op is rewritten to read the input of a Transpose, so that the Transpose comes after the op.

With y = Transpose(x, perm), axis i of y is axis perm[i] of x. A rule says, for an op that reads y, which other inputs
and attributes it needs to read x, and by which permutation each output must then be transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Dim, Node
from alula.runtime.ops.contract import find
from alula.runtime.passes.rewrite import Rewrite, make_node
from alula.runtime.passes.shapes import Shapes

Perm = tuple[int, ...]


@frozen
class Change:
    """What changes.

    perms  : the permutation of each output
    attrs  : changed attributes
    inputs : changed inputs, by index
    op     : if it becomes another one
    before : nodes that compute changed inputs
    """

    perms: tuple[Perm, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    inputs: dict[int, str] = field(default_factory=dict)
    op: str = ""
    before: tuple[Node, ...] = ()

    def apply(self, node: Node, sources: dict[int, str], outputs: Sequence[str]) -> Node:
        """The transposed node. sources : the transposed data inputs, by index"""
        changed = {**sources, **self.inputs}
        inputs = list(node.inputs) + [""] * (max(changed) + 1 - len(node.inputs))
        for index, name in changed.items():
            inputs[index] = name
        attrs = node.attrs
        if self.op != "":
            attrs = find(self.op, node.label).make_attrs(self.attrs, node.label)
        elif self.attrs:
            attrs = replace(attrs, **self.attrs)
        return Node(self.op or node.op, tuple(inputs), tuple(outputs), attrs, node.name)


Rule = Callable[[Rewrite, Shapes, Node, Perm], Change | None]


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes another."""
    return tuple(perm.index(axis) for axis in range(len(perm)))


def to_first(rank: int) -> Perm:
    """(N, *spatial, C) -> (N, C, *spatial)."""
    return (0, rank - 1, *range(1, rank - 1))


def is_pointwise(node: Node) -> bool:
    """Whether the node's inputs broadcast against each other."""
    op = find(node.op, node.label)
    return op.pointwise or op.elementwise


def data_inputs(node: Node) -> tuple[int, ...]:
    """The inputs that a rule expects to be transposed."""
    if node.op == "Concat" or (is_pointwise(node) and node.op != "Clip"):
        return tuple(i for i, name in enumerate(node.inputs) if name)
    return (0,)


def rule_for(node: Node) -> Rule | None:
    """How the node is transposed, if it can be."""
    if node.fused:
        return None
    if node.op.startswith("Reduce"):
        return _reduce
    return _pointwise if is_pointwise(node) else RULES.get(node.op)


def _pointwise(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    return Change((perm,))


def _axis(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    return Change((perm,) * len(node.outputs), {"axis": perm[node.attrs.axis]})


def _arg(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    axis = node.attrs.axis % len(perm)
    kept = perm if node.attrs.keepdims else _without(perm, (axis,))
    return Change((kept,), {"axis": perm[axis]})


def _reduce(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    axes: Sequence[int] = range(len(perm))
    inputs = {}
    if len(node.inputs) > 1 and node.inputs[1]:
        axes = rewrite.integers(node.inputs[1]) or ()
        if not axes:
            return None
        inputs[1] = _integers(rewrite, node.inputs[1], sorted(perm[axis] for axis in axes))
    elif node.attrs.noop_with_empty_axes:
        return Change((perm,))
    return Change((perm if node.attrs.keepdims else _without(perm, axes),), inputs=inputs)


def _pad(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    pads, given = rewrite.integers(node.inputs[1]), len(node.inputs) > 3 and node.inputs[3]
    axes = rewrite.integers(node.inputs[3]) if given else tuple(range(len(perm)))
    if pads is None or axes is None or len(pads) != 2 * len(axes):
        return None
    begins, ends = [0] * len(perm), [0] * len(perm)
    for index, axis in enumerate(axes):
        begins[perm[axis]], ends[perm[axis]] = pads[index], pads[index + len(axes)]
    inputs = {1: _integers(rewrite, node.inputs[1], begins + ends)}
    return Change((perm,), inputs={**inputs, 3: ""} if given else inputs)


def _slice(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    starts = shapes.value(node.inputs[1])
    if starts is None:
        return None
    axes: Sequence[int] | None = range(len(starts))
    if len(node.inputs) > 3 and node.inputs[3]:
        axes = rewrite.integers(node.inputs[3])
    if axes is None:
        return None
    return Change((perm,), inputs={3: _integers(rewrite, f"{node.outputs[0]}.axes", [perm[axis] for axis in axes])})


def _resize(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    axes = node.attrs.axes or tuple(range(len(perm)))
    transposed = [perm[axis] for axis in axes]
    order = sorted(range(len(axes)), key=transposed.__getitem__)
    inputs = {}
    for index, name in enumerate(node.inputs[1:], 1):
        value = rewrite.value(name) if name else None
        if name and value is None:  # the axes can be named in any order, but not by every kernel
            return Change((perm,), {"axes": tuple(transposed)})
        if value is not None and value.size:
            rows = value.reshape(-1, len(axes))[:, order]  # roi has two rows: starts and ends
            inputs[index] = rewrite.constant(f"{name}.transposed", np.ascontiguousarray(rows.reshape(-1)))
    attrs = {"axes": tuple(transposed[i] for i in order)} if node.attrs.axes else {}
    return Change((perm,), attrs, inputs)


def _tile(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    sizes = rewrite.integers(node.inputs[1])
    if sizes is None or len(sizes) != len(perm):
        return None
    return Change((perm,), inputs={1: _integers(rewrite, node.inputs[1], [sizes[axis] for axis in inverse(perm)])})


def _squeeze(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    axes = rewrite.integers(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None:
        return None
    transposed = sorted(perm[axis] for axis in axes)
    return Change((_without(perm, axes),), inputs={1: _integers(rewrite, node.inputs[1], transposed)})


def _unsqueeze(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    axes = rewrite.integers(node.inputs[1])
    if axes is None or perm != to_first(len(perm)):
        return None
    rank = len(perm) + len(axes)
    new = sorted(axis % rank for axis in axes)
    if new[0] < 2:  # the channels would no longer be axis 1
        return None
    return Change((to_first(rank),), inputs={1: _integers(rewrite, node.inputs[1], [axis - 1 for axis in new])})


def _gather(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    axis, rank = node.attrs.axis % len(perm), shapes.rank(node.inputs[1])
    if rank not in (0, 1):
        return None
    return Change((perm if rank else _without(perm, (axis,)),), {"axis": perm[axis]})


def _reshape(rewrite: Rewrite, shapes: Shapes, node: Node, perm: Perm) -> Change | None:
    """Reshape and Flatten: dimensions are merged, split or kept in groups; whole groups can change places."""
    before, after = shapes.shape(node.inputs[0]), shapes.shape(node.outputs[0])
    if before is None or after is None or (node.op == "Reshape" and node.attrs.allowzero):
        return None
    groups = _groups(before, after)
    order = _transposed_order(groups, before, perm)
    if order is None:
        return None
    axes = [axis for index in order for axis in groups[index][1]]  # axis k of the new output is axis axes[k] of the old
    x_dims = [before[axis] for axis in inverse(perm)]
    target = _target([after[axis] for axis in axes], x_dims)
    perms, hint = (inverse(tuple(axes)),), f"{node.outputs[0]}.shape"
    if target is not None:
        return Change(perms, inputs={1: _integers(rewrite, hint, target)}, op="Reshape")
    wanted = shapes.value(node.inputs[1]) if node.op == "Reshape" else None
    if wanted is None or 0 in wanted:  # a 0 copies the dimension in its own place
        return None
    picks, transposed = _integers(rewrite, f"{hint}.axes", axes), rewrite.fresh(f"{hint}.transposed")
    gather = make_node("Gather", [node.inputs[1], picks], transposed, axis=0)
    return Change(perms, inputs={1: transposed}, before=(gather,))


def _groups(before: Sequence[Dim], after: Sequence[Dim]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Axes of the input and of the output that hold the same elements: equal ones from both ends, the rest together."""
    most = min(len(before), len(after))
    head = 0
    while head < most and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < most - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    middle = (tuple(range(head, len(before) - tail)), tuple(range(head, len(after) - tail)))
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((i,), (i,)) for i in range(head)]
    groups += [middle] if any(middle) else []
    return groups + [((len(before) - i,), (len(after) - i,)) for i in range(tail, 0, -1)]


def gathered(before: Sequence[Dim], after: Sequence[Dim], perm: Perm) -> Perm:
    """The axes of x in an order in which those that a Reshape merges stand side by side, as the Reshape reads them.

    before : shape that the Reshape reads, that of x under `perm`
    """
    groups = [[perm[axis] for axis in axes] for axes, _ in _groups(before, after)]
    return tuple(place for group in sorted(groups, key=lambda places: min(places, default=0)) for place in group)


def _transposed_order(
    groups: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], before: Sequence[Dim], perm: Perm
) -> list[int] | None:
    """The groups in the order in which x holds them; None if x holds one in pieces. Axes of size 1 do not count."""
    runs = []
    for index, (axes, _) in enumerate(groups):
        places = [perm[axis] for axis in axes if before[axis] != 1]
        runs.append((places, index))
    wide = sorted(place for places, _ in runs for place in places)
    rank_of = {place: rank for rank, place in enumerate(wide)}
    keys: list[tuple[float, int]] = []
    last = -1.0
    for places, index in runs:
        ranks = [rank_of[place] for place in places]
        if ranks != list(range(ranks[0], ranks[0] + len(ranks))) if ranks else False:
            return None
        last = ranks[0] if ranks else last + 0.5  # a group of ones follows the group before it
        keys.append((last, index))
    return [index for _, index in sorted(keys)]


def _target(dims: Sequence[Dim], source: Sequence[Dim]) -> list[int] | None:
    """The constant that reshapes `source` to `dims`: 0 copies a free dimension, -1 stands for one that is left."""
    target = []
    for axis, dim in enumerate(dims):
        if isinstance(dim, int):
            target.append(dim)
        else:
            target.append(0 if axis < len(source) and source[axis] == dim else -1)
    return target if target.count(-1) <= 1 and (0 not in dims) else None


def constant_target(node: Node, shapes: Shapes) -> list[int] | None:
    """The constant that does for a Reshape what its computed target does, if there is one."""
    before, after = shapes.shape(node.inputs[0]), shapes.shape(node.outputs[0])
    if before is None or after is None:
        return None
    return _target(after, before)


def _without(perm: Perm, axes: Sequence[int]) -> Perm:
    """What is left of a permutation when axes of its result are removed."""
    gone = {axis % len(perm) for axis in axes}
    kept = [place for axis, place in enumerate(perm) if axis not in gone]
    return tuple(sorted(kept).index(place) for place in kept)


def _integers(rewrite: Rewrite, hint: str, values: Sequence[int]) -> str:
    name = hint if hint.endswith(".transposed") else f"{hint}.transposed"
    return rewrite.constant(name, np.array(values, np.int64))


RULES: dict[str, Rule] = {
    "ArgMax": _arg,
    "ArgMin": _arg,
    "Concat": _axis,
    "Expand": _tile,
    "Flatten": _reshape,
    "Gather": _gather,
    "LogSoftmax": _axis,
    "LpNormalization": _axis,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Softmax": _axis,
    "Split": _axis,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Unsqueeze": _unsqueeze,
}
