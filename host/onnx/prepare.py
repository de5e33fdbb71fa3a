"""A model as one flat list of nodes that can run in order: functions expanded, nodes sorted, shapes inferred."""

from __future__ import annotations

import contextlib
import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from alula.host.onnx.branches import Branches, write_branches
from alula.host.onnx.checks import unchanged
from alula.host.onnx.microsoft import ONNX_ONLY_BY_NAME
from alula.host.onnx.rules import WRITTEN
from alula.host.onnx.upgrade import NEWEST_OPSET, OLDEST_OPSET
from alula.runtime.errors import AlulaError, GraphError, ImportFileError, reason
from alula.runtime.graph import TensorSpec
from alula.runtime.ops import REGISTRY

if TYPE_CHECKING:
    import onnx

MAX_DEPTH = 4  # of functions in functions
LARGE = 1024  # elements of a constant whose values decide no shape


def opset_of(model: onnx.ModelProto, where: str) -> int:
    """The opset that the model is read by.

    raise : ImportFileError if it is one that we do not read
    """
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = int(versions.get("", versions.get("ai.onnx", 0)))
    if 0 < opset < OLDEST_OPSET and all(unchanged(node, opset) for node in model.graph.node):
        return OLDEST_OPSET
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise ImportFileError(
            f"{where}: expected an opset from {OLDEST_OPSET} to {NEWEST_OPSET}, got {opset or 'none'}; export with opset 21"
        )
    return opset


def write_out(model: onnx.ModelProto, where: str) -> tuple[onnx.ModelProto, Branches]:
    """The model with branches, its own functions, and unknown ops that ONNX defines by known ones, written out, and sorted.

    raise : GraphError if functions or branches are damaged, or nodes are in a cycle; ImportFileError as `opset_of`
    """
    branches = Branches()
    with _checked(where):
        model = _without_functions(model, opset_of(model, where))
        model = write_branches(model, branches, where)
        model = _without_unknown(model, branches, opset_of(model, where), where)
    branches.adopt(model)
    return _sorted(model, branches, where), branches


@contextlib.contextmanager
def _checked(where: str) -> Iterator[None]:
    """What ONNX's inliner and converter raise becomes a GraphError; our own errors pass."""
    from onnx.shape_inference import InferenceError
    from onnx.version_converter import ConvertError

    try:
        yield
    except AlulaError:
        raise
    except (ConvertError, InferenceError, RuntimeError, TypeError, ValueError) as error:
        raise GraphError(
            f"{where}: expected functions that can be written out, got: {reason(error)}; check the model"
        ) from None


def _without_functions(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model's own functions written out, those of another opset converted."""
    import onnx.inliner

    if not model.functions:
        return model
    versions = {entry.version for function in model.functions for entry in function.opset_import if not entry.domain}
    return onnx.inliner.inline_local_functions(model, convert_version=bool(versions - {opset}))


def _without_unknown(model: onnx.ModelProto, branches: Branches, opset: int, where: str) -> onnx.ModelProto:
    """Ops that we do not know, but that ONNX defines by others, written out, as deep as MAX_DEPTH."""
    import onnx.inliner

    known = REGISTRY.all().keys() | WRITTEN | {"If"} | set(ONNX_ONLY_BY_NAME)
    for _ in range(MAX_DEPTH):
        unknown = {node.op_type for node in model.graph.node if node.domain in ("", "ai.onnx")} - known
        expandable = sorted(op for op in unknown if _has_body(op, opset))
        if not expandable or not hasattr(onnx.inliner, "inline_selected_functions"):
            break
        model = onnx.inliner.inline_selected_functions(
            _with_defaults(model, expandable, opset), [("", op) for op in expandable], inline_schema_functions=True
        )
        branches.adopt(model)
        model = write_branches(model, branches, where)
    return model


def _has_body(op: str, opset: int) -> bool:
    import onnx

    try:
        schema = onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def _with_defaults(model: onnx.ModelProto, ops: list[str], opset: int) -> onnx.ModelProto:
    """A copy in which these ops name all their attributes, and constants their types: the inliner looks nowhere else."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type in ops:
            given = {attribute.name for attribute in node.attribute}
            schema = onnx.defs.get_schema(node.op_type, opset)
            node.attribute.extend(
                known.default_value
                for name, known in sorted(schema.attributes.items())
                if name not in given and known.default_value.name
            )
    typed = {info.name for info in (*copy.graph.value_info, *copy.graph.input)}
    copy.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in copy.graph.initializer
        if tensor.name not in typed
    )
    return copy


def _sorted(model: onnx.ModelProto, branches: Branches, where: str) -> onnx.ModelProto:
    """The model with its nodes in an order in which they can run; itself where they are.

    raise : GraphError on a cycle or a tensor that nothing makes
    """
    import onnx

    graph = model.graph
    made = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer} | {""}
    made |= {sparse.values.name for sparse in graph.sparse_initializer}
    waiting_for: dict[int, set[str]] = {}
    readers: dict[str, list[int]] = defaultdict(list)
    for index, node in enumerate(graph.node):
        waiting_for[index] = {name for name in (*node.input, *branches.waits_for(node)) if name not in made}
        for name in waiting_for[index]:
            readers[name].append(index)
    ready = [index for index, names in waiting_for.items() if not names]
    order: list[int] = []
    while ready:  # the earliest in the file first
        order.append(heapq.heappop(ready))
        for name in set(graph.node[order[-1]].output) - made:
            made.add(name)
            for reader in readers[name]:
                waiting_for[reader].discard(name)
                if not waiting_for[reader]:
                    heapq.heappush(ready, reader)
    if len(order) < len(graph.node):
        first = min(set(waiting_for) - set(order))
        node, lost = graph.node[first], min(waiting_for[first])
        label = f"{node.name or next(iter(node.output), '?')} ({node.op_type})"
        raise GraphError(
            f"{where}: {label}: expected its input {lost!r} to be made by another node, got no such tensor or a cycle; "
            "the file is damaged"
        )
    if lost_outputs := [info.name for info in graph.output if info.name not in made or not info.name]:
        raise GraphError(
            f"{where}: expected output {lost_outputs[0]!r} to be made by a node, got no such tensor; the file is damaged"
        )
    if order == sorted(order):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    copy.graph.node.extend(graph.node[index] for index in order)
    return copy


def infer_shapes(model: onnx.ModelProto, inputs: Mapping[str, TensorSpec]) -> tuple[list[onnx.ValueInfoProto], bool]:
    """What ONNX knows of the shapes and dtypes of all tensors, and whether it found no fault.

    Both are hints: its rules refuse models that run, such as those with an op that has no rule.

    inputs : the graph's inputs as we understood them
    """
    import onnx

    bare = _without_weights(model, inputs)
    for strict in (True, False):
        try:
            result = onnx.shape_inference.infer_shapes(bare, strict_mode=strict, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
            continue
        return [*result.value_info, *result.output, *bare.graph.input], strict
    return list(bare.graph.input), False


def _without_weights(model: onnx.ModelProto, inputs: Mapping[str, TensorSpec]) -> onnx.ModelProto:
    """The model with large constants as inputs: their values decide no shape, and their bytes may be too many for a message."""
    import onnx

    info = onnx.helper.make_tensor_value_info
    bare = onnx.ModelProto(ir_version=max(model.ir_version, 4))  # constants need not be inputs from there on
    bare.opset_import.extend(model.opset_import)
    graph = bare.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) < LARGE and tensor.data_location != onnx.TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(info(tensor.name, tensor.data_type, tensor.dims))
    for sparse in model.graph.sparse_initializer:
        graph.input.append(info(sparse.values.name, sparse.values.data_type, sparse.dims))
    for declared in model.graph.input:
        if declared.name in inputs:
            kind = declared.type.tensor_type.elem_type
            graph.input.append(info(declared.name, kind, list(inputs[declared.name].shape)))
    graph.output.extend(onnx.ValueInfoProto(name=output.name) for output in model.graph.output)
    return bare
