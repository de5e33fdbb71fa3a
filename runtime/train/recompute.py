"""Less memory for more time: recompute activations in the backward pass instead of keeping them (Chen et al., arXiv 1604.06174).

A network is cut where a single tensor connects what comes before with what comes after, for example between the blocks of a
residual network. Plans are ordered by work. The first drops element-wise results of others, which are nearly free, and the
layers with the fewest multiply-adds per byte, up to a sixth of the bytes if that takes few multiply-adds. The next plans drop
everything between two cuts, segment after segment; the last ones join segments.
A dropped tensor is recomputed right before it is needed, by the same nodes, so gradients have the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from alula.runtime.frozen import frozen
from alula.runtime.graph import Node
from alula.runtime.ops.contract import find
from alula.runtime.planning.autodiff import Tape

LOSSES = ("CrossEntropy", "CTCLoss")  # their tensors are read again at once
MIN_BYTES = 4096  # smaller tensors are kept: dropping them would gain nothing
LIGHT_BYTES_RATIO = 0.17  # of the bytes: what the first plan may drop beside what follows element by element
LIGHT_WORK_RATIO = 0.043  # of a step's multiply-adds: what it may add for that


def candidates(tape: Tape, n_forward: int) -> list[frozenset[str]]:
    """Sets of activations to drop, from none on, each with more work than the one before.

    n_forward : how many of the tape's nodes are the forward pass
    """
    made = {name: node for node in tape.nodes[:n_forward] for name in node.outputs if name}
    kept_now = _kept(tape.nodes, n_forward, made)
    read = [name for name in kept_now if tape.spec(name).nbytes >= MIN_BYTES]
    free = [name for name in read if made[name].op not in LOSSES and made[name].outputs[0] == name]
    cheap = _cheap(tape, made, free, frozenset(kept_now))
    cuts = _cuts(tape, n_forward)
    found = [frozenset[str](), cheap]
    segments = _segments(tape, n_forward, free, cuts)
    gain = sorted(segments, key=lambda segment: segment.macs / max(segment.nbytes, 1))
    for count in range(1, len(gain) + 1):
        whole = gain[:count]
        kept = {segment.start for segment in whole}
        found.append((cheap - kept) | {name for segment in whole for name in segment.names} - kept)
    for width in range(2, math.isqrt(len(cuts)) + 2):
        kept = set(cuts[::width])
        found.append(frozenset(name for name in free if name not in kept))
    return [found[0], *dict.fromkeys(found[1:])]


def _cheap(tape: Tape, made: Mapping[str, Node], free: Sequence[str], kept: Collection[str]) -> frozenset[str]:
    """What follows from tensors that are kept anyway, element by element or by few multiply-adds for each byte."""
    macs = {name: _macs(tape, node) for name, node in made.items()}
    roots: dict[str, frozenset[str]] = {}  # the kept tensors that a tensor follows from
    plain: dict[str, bool] = {}  # whether it does so element by element
    for name, node in made.items():
        sources = [read for read in node.reads if read in made]
        plain[name] = not macs[name] and all(read in kept or plain[read] for read in sources)
        above = (roots[read] if plain[read] or read not in kept else {read} for read in sources)
        roots[name] = frozenset[str]().union(*above)
    droppable = set(free)
    dropped = {name for name in droppable if plain[name]}
    # An operand of a sum is needed with the sum, long before its own gradient: dropping it gains little
    summed = {root for name in dropped if len(roots[name]) > 1 for root in roots[name]}
    layers = [
        name for name, node in made.items()
        if name in droppable and macs[name] and (name not in summed or not roots[name])
        and all(read in kept for read in node.reads if read in made)  # nothing is computed for them alone
    ]  # fmt: skip
    work = LIGHT_WORK_RATIO * sum(_macs(tape, node) for node in tape.nodes)
    size = {name: tape.spec(name).nbytes for name in droppable}
    nbytes = LIGHT_BYTES_RATIO * sum(size[name] for name in droppable - dropped)
    # Of equals the first comes first: it is recomputed last, when most of the others are freed
    for name in sorted(layers, key=lambda name: macs[name] / size[name]):
        if nbytes > 0 and macs[name] <= work:
            work, nbytes = work - macs[name], nbytes - size[name]
            dropped.add(name)
    return frozenset(dropped)


@frozen
class _Segment:
    """What lies after one cut, up to the next one.

    start : the tensor from which it is recomputed
    names : what the backward pass reads of it
    """

    start: str
    names: tuple[str, ...]
    nbytes: int
    macs: int


def _segments(tape: Tape, n_forward: int, free: Sequence[str], cuts: Sequence[str]) -> list[_Segment]:
    found, wanted = [], set(free)
    start, names, macs = "", list[str](), 0
    for node in tape.nodes[:n_forward]:
        names += [name for name in node.outputs if name in wanted]
        macs += _macs(tape, node)
        if node.outputs[0] in cuts or node is tape.nodes[n_forward - 1]:
            found.append(_Segment(start, tuple(names), sum(tape.spec(name).nbytes for name in names), macs))
            start, names, macs = node.outputs[0], [], 0
    return [segment for segment in found if segment.names]


def _cuts(tape: Tape, n_forward: int) -> list[str]:
    """Activations through which everything passes that is computed after them."""
    last = {name: i for i, node in enumerate(tape.nodes[:n_forward]) for name in node.reads}
    found, alive = [], set[str]()
    for i, node in enumerate(tape.nodes[:n_forward]):
        alive.add(node.outputs[0])
        alive = {name for name in alive if last.get(name, -1) > i}
        if alive == {node.outputs[0]} and tape.spec(node.outputs[0]).nbytes >= MIN_BYTES:
            found.append(node.outputs[0])
    return found


def recomputed(tape: Tape, n_forward: int, dropped: Collection[str]) -> list[Node]:
    """The tape's nodes, with dropped tensors recomputed in the backward pass, each right before it is first read."""
    made = {name: node for node in tape.nodes[:n_forward] for name in node.outputs if name}
    available = set(_kept(tape.nodes, n_forward, made)) - set(dropped)
    nodes, again = list(tape.nodes[:n_forward]), dict[str, str]()

    for node in tape.nodes[:n_forward]:
        if node.op == "BatchNormalizationTraining":
            available.update(node.outputs[1:])  # small, and made once: running statistics must not move twice

    def make(name: str) -> None:
        if name in again or name in available or name not in made:
            return
        node = _as_repeated(made[name])
        for read in node.reads:
            make(read)
        nodes.append(_copy(tape, node, again))

    for node in tape.nodes[n_forward:]:
        for name in node.reads:
            make(name)
        inputs, otherwise = (tuple(again.get(name, name) for name in names) for names in (node.inputs, node.otherwise))
        nodes.append(replace(node, inputs=inputs, otherwise=otherwise))
    return nodes


def _kept(nodes: Sequence[Node], n_forward: int, made: Mapping[str, Node]) -> list[str]:
    return list(dict.fromkeys(name for node in nodes[n_forward:] for name in node.reads if name in made))


def _macs(tape: Tape, node: Node) -> int:
    macs = find(node.op, node.label).macs
    if macs is None:
        return 0
    specs = [tape.spec(name) if name else None for name in node.inputs]
    return int(macs(node.attrs, specs, [tape.spec(name) for name in node.outputs if name]))


def _as_repeated(node: Node) -> Node:
    """What makes the same output again: a batch normalisation does it by the statistics that it made the first time."""
    if node.op != "BatchNormalizationTraining":
        return node
    attrs = find("BatchNormalizationApply", node.label).make_attrs({}, node.label)
    inputs = (*node.inputs[:3], *node.outputs[3:5])
    return replace(
        node,
        op="BatchNormalizationApply",
        inputs=inputs,
        outputs=node.outputs[:1],
        attrs=attrs,
        otherwise=node.otherwise[:1],
    )


def _copy(tape: Tape, node: Node, again: dict[str, str]) -> Node:
    """The node once more, under other names."""
    outputs, guard = node.outputs, again.get(node.guard, node.guard)
    inputs, otherwise = (tuple(again.get(read, read) for read in reads) for reads in (node.inputs, node.otherwise))
    names = {name: f"{name}|again" for name in outputs if name}
    tape.specs.update((new, tape.spec(name)) for name, new in names.items())
    again.update(names)
    outputs = tuple(names.get(name, "") for name in outputs)
    return replace(node, inputs=inputs, outputs=outputs, guard=guard, otherwise=otherwise)
