"""An op: one frozen object with its rules and traits, registered by one explicit call at the end of its file.

`infer` makes every check on shapes and dtypes; nothing that runs later checks again. `reference` is the oracle, in
NumPy alone. Lowering and gradients are in other files of the room (`rules.py`). An op
without a lowering rule runs as its reference between kernels, and `alula info` lists it.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any

from alula.runtime.errors import DTypeError, GraphError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import MAX_RANK, Array, Node, TensorSpec
from alula.runtime.ops.traits import ROLES, ChannelsLast, Linear, Operand, Rank, Stage, axis_for

Specs = Sequence[TensorSpec | None]
Values = Sequence[Array | None]
ROOMS = Path(__file__).parent


@frozen
class NoAttrs:
    """The attributes of an op that has none."""


@frozen
class Op:
    """One op.

    name          : ONNX's name
    n_inputs      : minimum and maximum number of inputs (optional ones may be absent)
    infer         : (attrs, input specs, known input values) -> output specs; all specs are static here, an absent
                    input is None, a value is an array where it is known when the program is planned. Raises
                    ShapeError, DTypeError or GraphError without the node's label: the caller adds it
    reference     : (attrs, *inputs) -> outputs, NumPy; an absent optional input is None
    macs          : (attrs, input specs, output specs) -> multiply-adds
    static_inputs : inputs whose values decide shapes; they must be known when a program is planned
    checked_inputs : others whose values `infer` checks where they are known: small ones, such as indices
    data_sized    : how much it gives depends on the values of its static inputs; where they are computed, its reference runs
                    before what follows is planned (planning/segments.py), and `infer`, without the values, makes its checks
    domain        : of its name in an ONNX file; "" is ONNX's own
    in_storage    : its kernel writes what belongs to a variable in the variable's own order (memory/variables.py)
    is_view       : its first output may be the memory of its first input

    The traits:
    elementwise   : may run in another kernel's epilogue
    stage         : which stage of the elementwise kernel it is, if it has one input, or is a gradient times a slope
    slope         : from which tensor its gradient knows the slope, "x" or "y": then OPGrad (grad_y, that tensor) is an op, too
    pointwise     : treats all elements alike, and broadcasts its inputs
    hosts         : its kernel has an epilogue
    operands      : what it has learned, by number of the input
    normalizes    : is a normalisation
    linear        : is a product, into which constant arithmetic folds
    channels_last : its layout at import, if it has spatial axes
    has_buffers   : its other constants are no parameters, but may be trained by name
    optional_first : its kernel leaves out the first output, too, where nothing reads it
    rank          : how many dimensions its outputs have, where ONNX's shape inference gives up
    """

    name: str
    infer: Callable[[Any, Specs, Values], tuple[TensorSpec, ...]]
    reference: Callable[..., tuple[Array, ...]]
    attrs: type = NoAttrs
    n_inputs: tuple[int, int] = (1, 1)
    macs: Callable[[Any, Specs, Sequence[TensorSpec]], int] | None = None
    static_inputs: tuple[int, ...] = ()
    checked_inputs: tuple[int, ...] = ()
    data_sized: bool = False
    domain: str = ""
    in_storage: bool = False
    is_view: bool = False
    elementwise: bool = False
    stage: Stage | None = None
    slope: str = ""
    pointwise: bool = False
    hosts: bool = False
    operands: Mapping[int, Operand] = field(default_factory=dict)
    normalizes: bool = False
    linear: Linear | None = None
    channels_last: ChannelsLast | None = None
    has_buffers: bool = False
    optional_first: bool = False
    rank: Rank | None = None

    @property
    def room(self) -> str:
        """The folder of `ops/` that it stands in; the whole name of its module if it stands elsewhere."""
        inner = self.reference.__module__.removeprefix(f"{__package__}.")
        return inner if inner == self.reference.__module__ else inner.partition(".")[0]

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


def rooms() -> list[str]:
    """The names of the rooms: folders that hold an `op.py`."""
    return sorted(path.parent.name for path in ROOMS.glob("*/op.py"))


def files_for(op: str, stem: str, room: str = "*") -> list[Path]:
    """The files (of one room) that begin so, `op`, `lower`, `gradient` or `kernel`; those that name the op come first."""
    return sorted(_files(room, stem), key=lambda path: op not in _names_in(path))


@cache
def _files(room: str, stem: str) -> tuple[Path, ...]:
    return tuple(sorted(ROOMS.glob(f"{room}/{stem}*.py")))


@cache
def _names_in(path: Path) -> frozenset[str]:
    """What a file writes in quotes: a file that registers an op names it, and need not be imported to tell."""
    return frozenset(re.findall(r'"([A-Z]\w+)"', path.read_text(encoding="utf-8")))


def import_file(path: Path) -> None:
    """Import a file of a room."""
    importlib.import_module(f"{__package__}.{path.parent.name}.{path.stem}")


class Registry(dict[str, Op]):
    """The ops by name. The file of an op is imported when it is first looked up."""

    def __missing__(self, name: str) -> Op:
        for path in files_for(name, "op"):
            import_file(path)
            if super().__contains__(name):
                return self[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not None
        except KeyError:
            return False

    def all(self) -> Registry:
        """The same, with every room imported: to list ops."""
        for path in files_for("", "op"):
            import_file(path)
        return self

    def ours(self) -> dict[str, Op]:
        """The ops of all rooms, without those that were registered elsewhere."""
        places = rooms()
        return {name: op for name, op in self.all().items() if op.room in places}


REGISTRY = Registry()


def _check_traits(op: Op) -> None:
    """Refuse traits that contradict each other. raise : GraphError"""
    where, attrs = f"op {op.name}", {field.name for field in dataclasses.fields(op.attrs)}
    for index, operand in op.operands.items():
        if (
            not 0 <= index < op.n_inputs[1]
            or operand.role not in ROLES
            or operand.grouped not in ("", "outputs", "inputs")
        ):
            raise GraphError(
                f"{where}: expected operands among its {op.n_inputs[1]} inputs, with a role of {', '.join(ROLES)}, got "
                f"{index}: {operand.role!r} {operand.grouped!r}; correct its traits"
            )
        _check_axes(op, index, operand)
    if op.linear is not None:
        missing = {index for index in (op.linear.weight, op.linear.bias) if index is not None} - set(op.operands)
        unknown = {name for name in (op.linear.gain, op.linear.bias_gain) if name} - attrs
        if missing or unknown:
            raise GraphError(
                f"{where}: expected weight and bias of `linear` among its operands, and gains among its attributes, got "
                f"{sorted(map(str, missing | unknown))}; correct its traits"
            )


def _check_axes(op: Op, index: int, operand: Operand) -> None:
    """Refuse axes of a weight that no weight has; those that attributes decide are tried with their defaults."""
    defaults = all(field.default is not dataclasses.MISSING for field in dataclasses.fields(op.attrs))
    given = [axis for axis in (operand.outputs, operand.inputs) if defaults or not callable(axis)]
    found = [axis_for(axis, op.attrs() if callable(axis) else None) for axis in given]
    wrong = [axis for axis in found if axis is not None and (type(axis) is not int or not -MAX_RANK <= axis < MAX_RANK)]
    if wrong or (len(set(found)) < len(found) and found != [None, None]):
        raise GraphError(
            f"op {op.name}: expected two different axes of input {index} from {-MAX_RANK} to {MAX_RANK - 1}, or None, got "
            f"{', '.join(map(repr, found))}; correct its traits"
        )


def _check_ranks(op: Op, attrs: Any, specs: Specs) -> None:
    """Refuse a weight that lacks an axis which its operand declares: whoever counts its channels would count others."""
    for index, operand in op.operands.items():
        spec = specs[index] if index < len(specs) else None
        for axis in (axis_for(operand.outputs, attrs), axis_for(operand.inputs, attrs)):
            if spec is not None and axis is not None and axis >= len(spec.shape):
                raise GraphError(
                    f"expected input {index} to have an axis {axis}, as the op {op.name} declares, got {spec}; correct "
                    "the op's traits"
                )


def register(*ops: Op) -> None:
    """Make ops known by their names."""
    for op in ops:
        if op.name in REGISTRY.keys():
            raise GraphError(f"op {op.name}: expected one registration, got two; remove one")
        _check_traits(op)
        REGISTRY[op.name] = op


def find(name: str, where: str) -> Op:
    """The op of that name.

    raise : GraphError that names the nearest known ops
    """
    try:
        return REGISTRY[name]
    except KeyError:
        import difflib  # only a mistake needs it

        near = difflib.get_close_matches(name, REGISTRY.all(), n=3, cutoff=0.4)
        hint = f"the nearest are {', '.join(near)}" if near else "docs/ops.md lists them"
        raise GraphError(f"{where}: expected a known op, got {name!r}; {hint}") from None


def infer(node: Node, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    """Output specs of a node (without its epilogue), with the node's label put before any error."""
    op = find(node.op, node.label)
    low, high = op.n_inputs
    if not low <= len(specs) <= high:
        raise GraphError(f"{node.label}: expected {low} to {high} inputs, got {len(specs)}; check the model")
    try:
        outputs = op.infer(node.attrs, specs, values)
        _check_ranks(op, node.attrs, specs)
        return outputs
    except (ShapeError, DTypeError, GraphError) as error:
        raise type(error)(f"{node.label}: {error}") from None
