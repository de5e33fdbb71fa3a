"""The order in which the nodes of a training step run: branches by depth, updates as early as possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from alula.runtime.errors import GraphError
from alula.runtime.graph import Node
from alula.runtime.ops.contract import find


def by_depth(nodes: Sequence[Node]) -> list[Node]:
    """Every node as early as what it reads allows, so that the backward pass comes to the shorter of two branches last.

    Then the common start of both is not needed (and perhaps recomputed) while the longer branch is still running.
    """
    depth: dict[str, int] = {}
    levels = []
    for node in nodes:
        levels.append(1 + max((depth.get(name, 0) for name in node.reads), default=0))
        depth.update((name, levels[-1]) for name in node.outputs if name)
    return [nodes[i] for i in sorted(range(len(nodes)), key=lambda i: levels[i])]


def sharing(nodes: Iterable[Node], names: Iterable[str]) -> dict[str, str]:
    """Tensor -> the one of `names` whose memory it may be: itself, and views of it, and views of those.

    nodes : in an order in which they can run
    """
    owner = {name: name for name in names}
    for node in nodes:
        if node.inputs and node.inputs[0] in owner and find(node.op, node.label).is_view:
            owner[node.outputs[0]] = owner[node.inputs[0]]
    return owner


def order_updates(nodes: Sequence[Node], updates: Mapping[str, str]) -> tuple[Node, ...]:
    """Every node that updates a variable as soon as what it reads is there and nothing still reads the old value.

    So a gradient is still in the cache when it is used, and its memory is free before the next one is computed.
    Nothing is overwritten while a node is left that reads it, or anything that may share its memory.

    updates : output -> variable that it becomes
    raise   : GraphError if two updates wait for each other
    """
    made = {name for node in nodes for name in node.outputs if name}
    updaters = {id(node): node for node in nodes if any(name in updates for name in node.outputs)}
    owner = sharing(nodes, updates.values())
    readers: dict[str, set[int]] = {}
    for node in nodes:
        for name in node.reads:
            if name in owner:
                readers.setdefault(owner[name], set()).add(id(node))
    waits: dict[int, int] = {}
    after: dict[str | int, list[Node]] = {}  # tensor or reader -> nodes that wait for it
    for node in nodes:
        events: set[str | int] = {name for name in node.reads if name in made}
        old = {updates[name] for name in node.outputs if name in updates}
        events |= {reader for name in old for reader in readers.get(name, ()) if reader != id(node)}
        waits[id(node)] = len(events)
        for event in events:
            after.setdefault(event, []).append(node)
    ordered: list[Node] = []
    placed: set[int] = set()
    early = set(updaters)  # what is placed as soon as it can be: updates, and nodes whose place has passed

    def place(first: Node) -> None:
        ready = [first]
        while ready:
            node = ready.pop(0)
            ordered.append(node)
            placed.add(id(node))
            done: tuple[str | int, ...] = (id(node), *node.outputs)
            for event in done:
                for waiting in after.pop(event, []):
                    waits[id(waiting)] -= 1
                    if not waits[id(waiting)] and id(waiting) in early:
                        ready.append(waiting)

    for node in nodes:
        if not waits[id(node)] and id(node) not in placed:
            place(node)
        early.add(id(node))
    if late := [node for node in nodes if id(node) not in placed]:
        raise GraphError(f"{late[0].label}: expected an order of updates, got a cycle; report it")
    return tuple(ordered)
