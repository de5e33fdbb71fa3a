"""What no output needs is left out before anything is checked: dead nodes, constants of any type, inputs that we cannot hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from alula.host.onnx.reader import is_tensor, sub_graphs

if TYPE_CHECKING:
    import onnx


def drop_unread(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with only what its outputs are computed from; an input that nothing reads stays if its type is one of ours.

    A weight that is listed among the inputs, as in files before IR version 4, is no input: unread, it goes as a weight does.

    return : a new model without notes on shapes, training information and unread functions; the old one stays as it is
    """
    import onnx

    graph = model.graph
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    read = {info.name for info in graph.output}
    waiting, alive = list(read), set[int]()
    while waiting:
        index = makers.get(waiting.pop())
        if index is None or index in alive:
            continue
        alive.add(index)
        new = set(reads(graph.node[index])) - read
        read |= new
        waiting += new
    lean = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    lean.opset_import.extend(model.opset_import)
    lean.metadata_props.extend(model.metadata_props)
    lean.graph.name = graph.name
    lean.graph.node.extend(node for index, node in enumerate(graph.node) if index in alive)
    lean.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
    lean.graph.sparse_initializer.extend(sparse for sparse in graph.sparse_initializer if sparse.values.name in read)
    weights = {tensor.name for tensor in graph.initializer} | {
        sparse.values.name for sparse in graph.sparse_initializer
    }
    lean.graph.input.extend(
        info for info in graph.input if info.name in read or (is_tensor(info) and info.name not in weights)
    )
    lean.graph.output.extend(graph.output)
    lean.functions.extend(_called(model, lean.graph.node))
    return lean


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, those of its sub-graphs too."""
    yield from (name for name in node.input if name)
    for graph in sub_graphs(node):
        yield from (info.name for info in graph.output)
        for inner in graph.node:
            yield from reads(inner)


def _called(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> list[Any]:
    """The model's own functions that these nodes, or functions that they call, call."""
    known = {(function.domain, function.name): function for function in model.functions}
    called: dict[tuple[str, str], Any] = {}
    waiting = list(_ops(nodes)) if known else []
    while waiting:
        key = waiting.pop()
        if key in known and key not in called:
            called[key] = known[key]
            waiting += _ops(known[key].node)
    return [function for key, function in known.items() if key in called]


def _ops(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        yield node.domain, node.op_type
        for graph in sub_graphs(node):
            yield from _ops(graph.node)
