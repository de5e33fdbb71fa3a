"""Names that can be shown and stored: of one line, printable, and no longer than the file format allows."""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence
from typing import TYPE_CHECKING, Any

from alula.host.onnx.reader import sub_graphs
from alula.host.onnx.steps import fresh
from alula.runtime.artifact.format import MAX_NAME_LENGTH

if TYPE_CHECKING:
    import onnx

LONGEST = MAX_NAME_LENGTH - 64  # import and passes add endings


def make_plain(graph: onnx.GraphProto) -> None:
    """Rename, in place, what has another kind of name: nodes and tensors, also those of sub-graphs."""
    graphs = list(_graphs(graph))
    new: dict[str, str] = {}
    taken = {name for one in graphs for name in _names(one)}
    for name in sorted(taken):
        if not _is_plain(name):
            new[name] = fresh("".join(c if c.isprintable() else "?" for c in name[:LONGEST]), taken)
    for one in graphs if new else ():
        for node in one.node:
            node.name = new.get(node.name, node.name)
            for names in (node.input, node.output):
                _rename(names, new)
        for holder in _holders(one):
            holder.name = new.get(holder.name, holder.name)


def _rename(names: MutableSequence[str], new: dict[str, str]) -> None:
    for index, name in enumerate(names):
        if name in new:
            names[index] = new[name]


def _is_plain(name: str) -> bool:
    return len(name) <= LONGEST and name.isprintable()


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for inner in sub_graphs(node):
            yield from _graphs(inner)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
    for holder in _holders(graph):
        yield holder.name


def _holders(graph: onnx.GraphProto) -> Iterator[Any]:
    """Whatever else has the name of a tensor: inputs, outputs and constants."""
    yield from (*graph.input, *graph.output, *graph.initializer)
    yield from (sparse.values for sparse in graph.sparse_initializer)
