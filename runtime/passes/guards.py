"""Guards: parts of a network that a flag skips, a residual block for its shortcut, say (SLU, Wang et al., arXiv 1909.13577)."""

from __future__ import annotations

from dataclasses import replace

from alula.runtime.errors import GraphError
from alula.runtime.graph import Graph, TensorSpec


def with_guard(graph: Graph, output: str, otherwise: str, flag: str) -> Graph:
    """The graph in which all that is computed for `output` alone is skipped where the flag is 0.

    output    : the end of the part that is skipped; a block's sum, or the activation behind it
    otherwise : the tensor whose value it takes then, of the same shape: the block's shortcut. What is needed for it always runs
    flag      : int64 of one element; a tensor of the graph, or else a new input of that name
    raise     : GraphError if there are no such tensors, or nothing to skip
    """
    if not flag:
        raise GraphError("guard: expected a name for the flag, got none; name a tensor or a new input")
    makers = graph.producers()
    known = {*graph.inputs, *graph.constants, *makers}
    for name in (output, otherwise):
        if name not in known:
            raise GraphError(f"guard: expected a tensor of {graph.name}, got {name!r}; name a node's output")
    if output not in makers:
        raise GraphError(f"guard: expected the output of a node, got {output!r}, which nothing computes; guard a block")
    given = graph.inputs.get(flag) or (graph.constants.spec(flag) if flag in graph.constants else None)
    if given is not None and (given.dtype != "int64" or given.shape not in ((), (1,))):
        raise GraphError(f"guard: expected a flag int64 of one element, got {flag!r} {given}; cast it")
    if id(makers[output]) in _above(graph, (otherwise, flag)):
        raise GraphError(
            f"guard: expected {otherwise!r} and {flag!r} before {output!r}, got one that is computed from it; swap them"
        )
    always = _above(graph, (otherwise, flag))
    skipped = _above(graph, (output,)) - always
    last = makers[output]
    readers = graph.consumers()
    while True:  # what others read as well always runs
        shared = {
            id(node) for node in graph.nodes if id(node) in skipped and node is not last
            and any(name in graph.outputs or any(id(reader) not in skipped for reader in readers.get(name, ())) for name in node.outputs)
        }  # fmt: skip
        if not shared:
            break
        skipped -= shared
    if id(last) not in skipped or any(node.guard for node in graph.nodes if id(node) in skipped):
        raise GraphError(
            f"guard: expected nodes without a guard between {otherwise!r} and {output!r}, got some; guard each once"
        )
    if any(name and (name in graph.outputs or readers.get(name)) for name in last.outputs if name != output):
        raise GraphError(f"guard: expected {output!r} to be the only output that is read of {last.label}, got others")
    place = tuple(otherwise if name == output else "" for name in last.outputs)
    nodes = tuple(
        replace(node, guard=flag, otherwise=place if node is last else ()) if id(node) in skipped else node
        for node in graph.nodes
    )
    inputs = graph.inputs if flag in known else {**graph.inputs, flag: TensorSpec((), "int64")}
    return replace(graph, nodes=nodes, inputs=inputs)


def _above(graph: Graph, names: tuple[str, ...]) -> set[int]:
    """The nodes that these tensors are computed from."""
    wanted, found = set(names), set[int]()
    for node in reversed(graph.nodes):
        if any(name in wanted for name in node.outputs):
            found.add(id(node))
            wanted.update(node.reads)
    return found
