"""What an op is: one frozen object with its rules, registered by one explicit call at the end of its family's file.

`infer` makes every check on shapes and dtypes; nothing that runs later checks again. `reference` is the oracle, in
NumPy alone. `lower` emits kernel instructions for the shapes at hand, or returns False where no kernel fits (another
dtype, say): then the program runs the reference between two stretches of kernels, and `alula info` says so.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alula.runtime.errors import DTypeError, GraphError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Node, TensorSpec
from alula.runtime.ops.families import FAMILIES, FAMILY_OF

if TYPE_CHECKING:
    from alula.runtime.lowering import Lowering

Specs = Sequence[TensorSpec | None]
Values = Sequence[Array | None]
Lower = Callable[["Lowering", Node], bool]


@frozen
class NoAttrs:
    """The attributes of an op that has none."""


@frozen
class Op:
    """One op.

    name          : ONNX's name
    n_inputs      : fewest and most inputs (optional ones may be absent)
    infer         : (attrs, input specs, known input values) -> output specs; all specs are static here, an absent
                    input is None, a value is an array where it is known when the program is planned. Raises
                    ShapeError, DTypeError or GraphError without the node's label: the caller adds it
    reference     : (attrs, *inputs) -> outputs, NumPy; an absent optional input is None
    lower         : (lowering, node) -> False if no kernel takes these shapes and dtypes
    macs          : (attrs, input specs, output specs) -> multiply-adds
    static_inputs : inputs whose values decide shapes; they must be known when a program is planned
    elementwise   : may run in another kernel's epilogue (see kernels/elementwise.py)
    lower_in_storage: as lower, where an output belongs to a variable: writes it in the variable's own order, or returns
                    False if that is another one
    in_storage    : its kernel writes what belongs to a variable in the variable's own order (see variables.py)
    is_view       : its first output may be the memory of its first input
    """

    name: str
    infer: Callable[[Any, Specs, Values], tuple[TensorSpec, ...]]
    reference: Callable[..., tuple[Array, ...]]
    attrs: type = NoAttrs
    n_inputs: tuple[int, int] = (1, 1)
    lower: Lower | None = None
    macs: Callable[[Any, Specs, Sequence[TensorSpec]], int] | None = None
    static_inputs: tuple[int, ...] = ()
    elementwise: bool = False
    lower_in_storage: Lower | None = None
    in_storage: bool = False
    is_view: bool = False

    def make_attrs(self, values: Mapping[str, Any], where: str) -> Any:
        """Attributes from plain values (lists become tuples).

        raise : GraphError on an unknown or missing attribute, or a value of the wrong kind
        """
        fields = {f.name: f for f in dataclasses.fields(self.attrs)}
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise GraphError(
                f"{where}: expected attributes {sorted(fields)}, got {unknown}; the file is newer or damaged"
            )
        frozen = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        for name, value in frozen.items():
            if not _fits(value, str(fields[name].type)):
                raise GraphError(
                    f"{where}: expected {name} to be {fields[name].type}, got {value!r}; the file is damaged"
                )
        try:
            return self.attrs(**frozen)
        except TypeError as error:
            raise GraphError(
                f"{where}: expected all attributes of {self.name}, got {error}; the file is damaged"
            ) from None


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value can stand for a dataclass field annotated so; annotations are strings such as "int | None"."""
    for kind in (part.strip() for part in annotation.split("|")):
        if kind == "None" and value is None or kind == "bool" and isinstance(value, bool):
            return True
        if kind == "int" and isinstance(value, int) and not isinstance(value, bool):
            return True
        if kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
            return True
        if kind == "str" and isinstance(value, str):
            return True
        if kind.startswith("tuple[") and isinstance(value, tuple):
            inner = kind.removeprefix("tuple[").removesuffix("]").removesuffix(", ...")
            if all(_fits(item, inner) for item in value):
                return True
    return False


class Registry(dict[str, Op]):
    """The ops by name; looking one up imports its family."""

    def __missing__(self, name: str) -> Op:
        if name not in FAMILY_OF:
            raise KeyError(name)
        importlib.import_module(f"alula.runtime.ops.{FAMILY_OF[name]}")
        return self[name] if super().__contains__(name) else self._absent(name)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in FAMILY_OF

    def all(self) -> Registry:
        """The same, with every family imported: for those who list ops."""
        for family in FAMILIES:
            importlib.import_module(f"alula.runtime.ops.{family}")
        return self

    @staticmethod
    def _absent(name: str) -> Op:
        raise GraphError(f"op {name}: expected family {FAMILY_OF[name]} to register it; correct ops/families.py")


REGISTRY = Registry()


def register(*ops: Op) -> None:
    """Make ops known by their names."""
    for op in ops:
        if op.name in REGISTRY.keys():
            raise GraphError(f"op {op.name}: expected one registration, got two; remove one")
        REGISTRY[op.name] = op


def find(name: str, where: str) -> Op:
    """The op of that name.

    raise : GraphError that names the nearest known ops
    """
    try:
        return REGISTRY[name]
    except KeyError:
        import difflib  # only a mistake needs it

        near = difflib.get_close_matches(name, FAMILY_OF, n=3, cutoff=0.4)
        hint = f"the nearest are {', '.join(near)}" if near else "docs/ops.md lists them"
        raise GraphError(f"{where}: expected a known op, got {name!r}; {hint}") from None


def infer(node: Node, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Output specs of a node (its fused chain left aside), with the node's label put before any error."""
    op = find(node.op, node.label)
    low, high = op.n_inputs
    if not low <= len(specs) <= high:
        raise GraphError(f"{node.label}: expected {low} to {high} inputs, got {len(specs)}; check the model")
    try:
        return op.infer(node.attrs, specs, values)
    except (ShapeError, DTypeError, GraphError) as error:
        raise type(error)(f"{node.label}: {error}") from None
