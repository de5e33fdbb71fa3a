"""Checks of an untrusted ONNX file before its nodes are used: signatures, attributes, values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.host.onnx.steps import Step
from alula.host.onnx.upgrade import NEWEST_OPSET, OLDEST_OPSET
from alula.runtime.errors import GraphError, ImportFileError
from alula.runtime.graph import Array
from alula.runtime.ops.contract import REGISTRY
from alula.runtime.ops.traits import TABLE

if TYPE_CHECKING:
    import onnx

# Attributes without effect on the dtypes and the use that we have
IGNORED = frozenset(
    {"consumed_inputs", "is_test", "momentum", "round_mode", "saturate", "seed", "stash_type", "precision"}
)


def unchanged(node: onnx.NodeProto, opset: int) -> bool:
    """Whether an op of a very old opset still meant the same in the oldest one that we read."""
    import onnx

    try:
        old, new = (onnx.defs.get_schema(node.op_type, version) for version in (opset, OLDEST_OPSET))
    except onnx.defs.SchemaError:
        return False
    return bool(old.since_version == new.since_version)


def schema_for(op: str, opset: int) -> onnx.defs.OpSchema | None:
    """What ONNX says of an op in an opset; of one that came later, what it said first: optimisers write such ops."""
    import onnx

    try:
        return onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        later = range(opset + 1, NEWEST_OPSET + 1)
    for version in later:
        try:
            return onnx.defs.get_schema(op, version)
        except onnx.defs.SchemaError:
            continue
    return None


def check_signature(node: onnx.NodeProto, opset: int, where: str) -> None:
    """Refuse a node whose inputs, outputs or attributes are not those that ONNX gives its op in this opset.

    raise : GraphError
    """
    schema = schema_for(node.op_type, opset)
    if schema is None:
        raise GraphError(f"{where}: expected an op of opset {opset}, got one that it does not have; export again")
    for kind, count, low, high in (
        ("inputs", len(node.input), schema.min_input, schema.max_input),
        ("outputs", len(node.output), schema.min_output, schema.max_output),
    ):
        if not low <= count <= high:
            raise GraphError(f"{where}: expected {low} to {high} {kind}, got {count}; the file is damaged")
    # Others are left out in practice: Resize-11 demands what it does not use
    if schema.min_input and not node.input[0]:
        raise GraphError(f"{where}: expected its first input, got none; the file is damaged")
    for attribute in node.attribute:
        known = schema.attributes.get(attribute.name)
        if known is None and attribute.name not in IGNORED:
            names = ", ".join(schema.attributes) or "none"
            raise GraphError(f"{where}: expected attributes among {names}, got {attribute.name!r}; the file is damaged")
        if known is not None and attribute.type != known.type.value:
            raise GraphError(
                f"{where}: expected {attribute.name} as {known.type.name}, got another kind; the file is damaged"
            )


def is_default(op: str, name: str, value: Any, opset: int) -> bool:
    """Whether an attribute that the engine's op lacks says nothing new."""
    import onnx

    if name in IGNORED:
        return True
    schema = schema_for(op, opset)
    if schema is None or name not in schema.attributes:
        return False
    try:
        default = onnx.helper.get_attribute_value(schema.attributes[name].default_value)
    except ValueError:
        return False
    return bool((default.decode() if isinstance(default, bytes) else default) == value)


def check_values(steps: Iterable[Step], constants: Mapping[str, Array], where: str) -> None:
    """Refuse NaN in any constant, and infinities in learned ones.

    raise : ImportFileError
    """
    learned = {name for step in steps for name in _learned(step)}
    for name, array in constants.items():
        if array.dtype.kind != "f" or not array.size or bool(np.isfinite(array).all()):
            continue
        n_nan, n_inf = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        if n_nan or name in learned:
            raise ImportFileError(
                f"{where}: tensor {name!r}: expected finite values, got {n_nan} NaN and {n_inf} infinite of "
                f"{array.size}; the training diverged or the file is damaged"
            )


def _learned(step: Step) -> set[str]:
    """Inputs that hold learned values: an infinity there is damage. Elsewhere (an attention mask) it may be meant."""
    operands = REGISTRY[step.op].operands if step.op in REGISTRY else {}
    return {step.input(index) for index, operand in operands.items() if index and operand.role != TABLE}
