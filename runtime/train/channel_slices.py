"""Train a slice of a layer's input channels; the rest of its weights is frozen (MCUNetV3, Lin et al., arXiv 2206.15472).

The layer is split in two over its input channels: y = f(x[rest], frozen weights) + f(x[chosen], trained weights). No work is
added. The weight gradient is that of the chosen channels, and only these channels of x are kept for it. The channels with the
largest weights are chosen, as in the paper. Weights with one input channel per group (depthwise), biases and normalisations
are trained whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph, Node
from alula.runtime.ops.contract import find
from alula.runtime.ops.traits import axis_for
from alula.runtime.passes.rewrite import Rewrite, make_node

WHOLE = 1.0


@frozen
class Part:
    """A weight of which some input channels are trained.

    weight   : name of the constant
    name     : of the trained part, like the weight but for the channels
    axis     : of the input channels
    channels : which ones, ascending
    """

    weight: str
    name: str
    axis: int
    channels: tuple[int, ...]

    def merged(self, whole: Array, part: Array) -> Array:
        """The weight with what the part has learned."""
        result = np.array(whole)
        np.moveaxis(result, self.axis, 0)[list(self.channels)] = np.moveaxis(part, self.axis, 0)
        return result


def split_weights(
    graph: Graph, slices: Mapping[str, float], readers: Mapping[str, Sequence[Node]]
) -> tuple[Graph, list[Part]]:
    """The graph with layers split in a trained and a frozen part, and the parts.

    slices    : parameter -> part of its input channels that is trained; 1: all
    readers   : parameter -> the nodes that read it
    raise     : GraphError if several layers share a weight that is to be split
    """
    rewrite, parts, everywhere = Rewrite(graph, guarded=True), list[Part](), graph.consumers()
    for weight, fraction in slices.items():
        axis = _input_axis(graph, readers[weight][0], weight) if fraction < WHOLE else None
        if axis is None:
            continue
        if len(everywhere[weight]) > 1 or weight in graph.outputs:
            names = ", ".join(
                [*(node.label for node in everywhere[weight]), *["an output"] * (weight in graph.outputs)]
            )
            raise GraphError(
                f"update: expected {weight} in one layer to train a part of it, got {names}; train it whole"
            )
        value = graph.constants[weight]
        if (count := max(1, round(fraction * value.shape[axis]))) < value.shape[axis]:
            parts.append(_split(rewrite, readers[weight][0], weight, value, axis, count))
    return rewrite.graph(), parts


def _input_axis(graph: Graph, node: Node, weight: str) -> int | None:
    """Which axis of a weight is the input channels; None if it cannot be divided."""
    op, rank = find(node.op, node.label), len(graph.constants.spec(weight).dims)
    linear = op.linear
    if linear is None or node.inputs[linear.weight] != weight or getattr(node.attrs, "group", 1) != 1:
        return None
    axis = axis_for(op.operands[linear.weight].inputs, node.attrs)
    return axis % rank if axis is not None and -rank <= axis < rank else None


def _split(rewrite: Rewrite, node: Node, weight: str, value: Array, axis: int, count: int) -> Part:
    rows = np.moveaxis(value, axis, 0)
    magnitude = np.abs(rows).reshape(len(rows), -1).sum(axis=1, dtype=np.float64)
    chosen = np.sort(np.argsort(-magnitude, kind="stable")[:count])
    rest = np.setdiff1d(np.arange(len(rows)), chosen)
    x, y = node.inputs[0], node.outputs[0]
    order = rewrite.constant(f"{weight}|order", np.concatenate([chosen, rest]))
    sizes = rewrite.constant(f"{weight}|sizes", np.array([len(chosen), len(rest)]))
    ordered, inside, outside, partial, base = (
        rewrite.fresh(f"{y}|{part}") for part in ("ordered", "chosen", "frozen", "partial", "base")
    )
    trained, frozen_rest = (
        rewrite.constant(f"{weight}|{part}", np.ascontiguousarray(np.take(value, index, axis)))
        for part, index in (("part", chosen), ("frozen", rest))
    )
    split = replace(make_node("Split", [ordered, sizes], inside, axis=-1), outputs=(inside, outside))
    new = [
        make_node("Gather", [x, order], ordered, axis=-1), split,
        replace(node, inputs=(inside, trained), outputs=(partial,), name=f"{node.label}|part", otherwise=()),
        replace(node, inputs=(outside, frozen_rest, *node.inputs[2:]), outputs=(base,), otherwise=()),
        make_node("Add", [base, partial], y),
    ]  # fmt: skip
    rewrite.exchange([node], new)
    return Part(weight, trained, axis, tuple(map(int, chosen)))
