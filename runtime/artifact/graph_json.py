"""Graphs as JSON values, and back. Reading trusts nothing: attributes and edges get the same checks as an import."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from alula.runtime.artifact.format import (
    DAMAGED,
    MAX_DIM,
    MAX_FUSED,
    MAX_NODES,
    MAX_RANK,
    MAX_TENSOR_NAMES,
    MAX_TENSORS,
    as_choice,
    as_dict,
    as_int,
    as_list,
    as_name,
)
from alula.runtime.errors import ArtifactError
from alula.runtime.graph import DTYPES, ConstantPool, Dim, Graph, Node, TensorSpec
from alula.runtime.ops.contract import Op, find

NOT_FINITE = ("inf", "-inf", "nan")  # attributes that JSON has no number for


def graph_to_json(graph: Graph, tensor_index: Callable[[str], int]) -> dict[str, Any]:
    """A graph; its constants are indices into the tensor table."""
    return {
        "constants": {name: tensor_index(name) for name in sorted(graph.constants)},
        "inputs": [
            {"name": name, "dtype": spec.dtype, "shape": list(spec.shape)} for name, spec in graph.inputs.items()
        ],
        "name": graph.name,
        "nodes": [_node_to_json(node) for node in graph.nodes],
        "outputs": list(graph.outputs),
    }


def _node_to_json(node: Node) -> dict[str, Any]:
    values = {f.name: (_plain(getattr(node.attrs, f.name)), f.default) for f in dataclasses.fields(node.attrs)}
    # the number 0 is equal to 0.0 and to False, but not the same value
    attrs = {name: value for name, (value, default) in values.items() if repr(value) != repr(_plain(default))}
    fields: dict[str, Any] = {
        "attrs": attrs, "fused": [_node_to_json(fused) for fused in node.fused], "inputs": list(node.inputs),
        "guard": node.guard, "name": node.name, "op": node.op, "otherwise": list(node.otherwise), "outputs": list(node.outputs),
    }  # fmt: skip
    return {key: value for key, value in fields.items() if value or key in ("inputs", "op", "outputs")}


def _plain(value: Any) -> Any:
    """An attribute's value as JSON has it; what is no number or infinite, as a word."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _attrs_from_json(op: Op, value: Any, where: str) -> Any:
    """Attributes, checked; the words of `_plain` are numbers where a number may stand."""
    values = as_dict(value, f"{where}: attrs")
    kinds = {field.name: str(field.type) for field in dataclasses.fields(op.attrs)}
    words = {name: word for name, word in values.items() if "float" in kinds.get(name, "")}
    return op.make_attrs(values | {name: _number(word) for name, word in words.items()}, where)


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, str) and value in NOT_FINITE else value


def constants_from_json(value: Any, n_tensors: int, where: str) -> dict[str, int]:
    """Name -> index into the tensor table."""
    constants = as_dict(value, f"{where}: constants")
    if len(constants) > MAX_TENSORS:
        raise ArtifactError(f"{where}: expected at most {MAX_TENSORS} constants, got {len(constants)}; {DAMAGED}")
    for name, index in constants.items():
        as_name(name, f"{where}: constants")
        as_int(index, f"{where}: constant {name}", 0, n_tensors - 1)
    return constants


def graph_from_json(value: Any, constants: ConstantPool, where: str) -> Graph:
    """A graph over these constants.

    raise : ArtifactError, or GraphError and DTypeError of the graph's own checks
    """
    fields = as_dict(value, where, ("constants", "inputs", "name", "nodes", "outputs"))
    inputs: dict[str, TensorSpec] = {}
    for entry in as_list(fields["inputs"], f"{where}: inputs", MAX_TENSOR_NAMES):
        entry = as_dict(entry, f"{where}: inputs", ("name", "dtype", "shape"))
        name = as_name(entry["name"], f"{where}: inputs")
        if not name or name in inputs or name in constants:
            raise ArtifactError(f"{where}: expected inputs with names of their own, got {name!r}; {DAMAGED}")
        inputs[name] = spec_from_json(entry, f"{where}: input {name}", free=True)
    nodes = [_node_from_json(node, where) for node in as_list(fields["nodes"], f"{where}: nodes", MAX_NODES)]
    outputs = [
        as_name(name, f"{where}: outputs") for name in as_list(fields["outputs"], f"{where}: outputs", MAX_TENSORS)
    ]
    return Graph(as_name(fields["name"], where), inputs, tuple(outputs), tuple(nodes), constants)


def spec_from_json(fields: dict[str, Any], where: str, free: bool = False) -> TensorSpec:
    """Shape and dtype; with `free`, a dimension may be a name."""
    dtype = as_choice(fields["dtype"], f"{where}: dtype", DTYPES)
    shape: list[Dim] = []
    for dim in as_list(fields["shape"], f"{where}: shape", MAX_RANK):
        is_free = free and isinstance(dim, str) and dim
        shape.append(as_name(dim, f"{where}: shape") if is_free else as_int(dim, f"{where}: shape", 0, MAX_DIM))
    return TensorSpec(tuple(shape), dtype)


def _node_from_json(value: Any, where: str, fused: bool = False) -> Node:
    keys = as_dict(value, f"{where}: node")
    unknown = sorted(set(keys) - {"attrs", "fused", "guard", "inputs", "name", "op", "otherwise", "outputs"})
    if unknown or not {"inputs", "op", "outputs"} <= set(keys) or (fused and "fused" in keys):
        raise ArtifactError(
            f"{where}: expected a node with op, inputs and outputs, got the keys {sorted(keys)!a:.80}; {DAMAGED}"
        )
    name = as_name(keys.get("name", ""), f"{where}: node")
    label = f"{where}: node {name}" if name else f"{where}: node"
    inputs = tuple(as_name(n, label) for n in as_list(keys["inputs"], f"{label}: inputs", MAX_TENSOR_NAMES))
    outputs = tuple(as_name(n, label) for n in as_list(keys["outputs"], f"{label}: outputs", MAX_TENSOR_NAMES))
    op = find(as_name(keys["op"], label), label)
    if not any(outputs) or (keys.get("fused") and not outputs[0]):
        raise ArtifactError(f"{label}: expected one output or more, got none; {DAMAGED}")
    low, high = op.n_inputs
    if not low <= len(inputs) <= high:
        raise ArtifactError(f"{label}: expected {low} to {high} inputs of {op.name}, got {len(inputs)}; {DAMAGED}")
    if not all(inputs[:low]):
        raise ArtifactError(f"{label}: expected the first {low} inputs of {op.name} to be given, got none; {DAMAGED}")
    attrs = _attrs_from_json(op, keys.get("attrs", {}), label)
    epilogue = tuple(
        _node_from_json(n, label, fused=True) for n in as_list(keys.get("fused", []), f"{label}: fused", MAX_FUSED)
    )
    for link in epilogue:
        if not find(link.op, label).elementwise:
            raise ArtifactError(f"{label}: expected element-wise ops in its epilogue, got {link.op}; {DAMAGED}")
    if epilogue and op.data_sized:
        raise ArtifactError(f"{label}: expected no epilogue of {op.name}, whose size the data tell, got one; {DAMAGED}")
    guard = as_name(keys.get("guard", ""), f"{label}: guard")
    otherwise = as_list(keys.get("otherwise", []), f"{label}: otherwise", MAX_TENSOR_NAMES)
    if len(otherwise) > len(outputs) or (otherwise and not guard) or (guard and fused):
        raise ArtifactError(
            f"{label}: expected a guard, and otherwise one tensor for each output, got others; {DAMAGED}"
        )
    return Node(
        op.name,
        inputs,
        outputs,
        attrs,
        name,
        epilogue,
        guard,
        tuple(as_name(n, f"{label}: otherwise") for n in otherwise),
    )
