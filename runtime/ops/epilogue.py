"""Epilogues: which element-wise nodes may run in one, and how it is cut where they may not.

An epilogue never changes the shape or dtype of its host's result, so an operand has one of four shapes:
one value, one per channel (C,), one per image and channel (N, 1, ..., 1, C), or one per element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from alula.runtime.graph import Dim, Node

MAX_STAGES = 8


def operand_kind(host: Sequence[Dim], operand: Sequence[Dim]) -> str | None:
    """How an operand meets the host's result: "scalar", "channel", "image" or "element"; None if it may not.

    Free dimensions of different names are taken to be equal: `split` decides when their sizes are known.
    """
    if len(operand) > len(host):
        return None
    dims = (1,) * (len(host) - len(operand)) + tuple(operand)
    if all(dim == 1 for dim in dims):
        return "scalar"
    if not host or not _same(host[-1], dims[-1]):
        return None
    if all(dim == 1 for dim in dims[:-1]):
        return "channel"
    if all(map(_same, host, dims)):
        return "element"
    if len(host) > 2 and _same(host[0], dims[0]) and all(dim == 1 for dim in dims[1:-1]):
        return "image"
    return None


def _same(host: Dim, operand: Dim) -> bool:
    """Whether two dimensions are equal as far as one can tell; a free one is never taken for 1."""
    if isinstance(host, int) and isinstance(operand, int):
        return host == operand
    return host != 1 and operand != 1


def with_output(node: Node, name: str) -> Node:
    """The node with its first output, after its epilogue, under another name."""
    outputs = (name, *node.outputs[1:])
    if not node.fused:
        return replace(node, outputs=outputs)
    first, *rest = _renamed(node.fused, node.body_output, f"{name}|body")
    stages = [first, *rest]
    stages[-1] = replace(stages[-1], outputs=(name,))
    return replace(node, outputs=outputs, fused=tuple(stages))


def unfuse(node: Node) -> list[Node]:
    """A node and the stages of its epilogue as separate nodes."""
    if not node.fused:
        return [node]
    body = replace(node, outputs=(node.body_output, *node.outputs[1:]), fused=(), otherwise=_without_first(node))
    return [body, *_guarded(node, node.fused)]


def split(node: Node, at: int) -> list[Node]:
    """Cut an epilogue before stage `at`: a node with the stages before it, and one with that stage and those after it."""
    stage = node.fused[at]
    before = node.fused[at - 1].outputs[0] if at else f"{stage.outputs[0]}|operand"
    stages = _renamed(node.fused[:at], node.body_output, f"{before}|body")
    head = replace(node, outputs=(before, *node.outputs[1:]), fused=stages, otherwise=_without_first(node))
    (tail,) = _guarded(node, _renamed((stage,), node.body_output, before))
    rest = _renamed(node.fused[at + 1 :], stage.outputs[0], f"{node.outputs[0]}|body")
    return [head, replace(tail, outputs=node.outputs[:1], fused=rest)]


def _without_first(node: Node) -> tuple[str, ...]:
    """What the outputs are otherwise, for a node whose first one is made by another one now."""
    return ("", *node.otherwise[1:]) if any(node.otherwise[1:]) else ()


def _guarded(node: Node, stages: Sequence[Node]) -> list[Node]:
    """Stages as nodes of their own, under the guard of the node that they come from."""
    if not node.guard or not stages:
        return list(stages)
    return [*(replace(stage, guard=node.guard) for stage in stages[:-1]),
            replace(stages[-1], guard=node.guard, otherwise=node.otherwise[:1])]  # fmt: skip


def _renamed(stages: tuple[Node, ...], old: str, new: str) -> tuple[Node, ...]:
    """Stages whose first one reads another name."""
    if not stages:
        return ()
    first = replace(stages[0], inputs=tuple(new if name == old else name for name in stages[0].inputs))
    return (first, *stages[1:])
