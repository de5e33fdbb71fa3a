"""The intermediate representation: a `Graph` of `Node`s between named tensors. Immutable, typed, validated.

Op names and semantics are ONNX's, in channels-last order: an image is (N, H, W, C), a convolution weight is
(C_OUT, K_H, K_W, C_IN / groups). A node may have an epilogue (`fused`): element-wise nodes, each of which takes the result
of the one before it. Evaluating them node by node defines the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alula.runtime.errors import DTypeError, GraphError
from alula.runtime.frozen import frozen

Array = NDArray[Any]
Dim = int | str  # a str names a free dimension: "batch", "width"; the same name is the same size

DTYPES = (
    "float32",
    "float16",
    "float64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "bool",
)
MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of a tensor; a str in the shape is a free dimension."""

    shape: tuple[Dim, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise DTypeError(f"tensor: expected one of {', '.join(DTYPES)}, got {self.dtype}; cast the model's tensor")

    @property
    def is_static(self) -> bool:
        """True when no dimension is free."""
        return all(isinstance(dim, int) for dim in self.shape)

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of a static tensor, as integers."""
        if not self.is_static:
            raise GraphError(f"tensor {self}: expected fixed dimensions, got free ones; specialise the graph first")
        return self.shape  # type: ignore[return-value]

    @property
    def size(self) -> int:
        """Number of elements of a static tensor."""
        count = 1
        for dim in self.dims:
            count *= dim
        return count

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of a static tensor."""
        return self.size * self.itemsize

    @staticmethod
    def of(array: Array) -> TensorSpec:
        """The spec of an array."""
        return TensorSpec(tuple(int(d) for d in array.shape), array.dtype.name)

    def __str__(self) -> str:
        return f"{self.dtype}({', '.join(map(str, self.shape))})"


@dataclass(frozen=True, slots=True)
class Node:
    """One op between tensors. `attrs` is the op's frozen attribute dataclass; an absent optional input is "".

    guard     : a flag, int64 of one element: the node is skipped where it is 0; "" if it always runs
    otherwise : per output, the tensor whose value it takes when the node is skipped; "" (or left out) for an output
                that only nodes of the same guard read
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Any
    name: str = ""
    fused: tuple[Node, ...] = ()
    guard: str = ""
    otherwise: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How errors call this node."""
        return f"{self.name or next(filter(None, self.outputs), 'a node')} ({self.op})"

    @property
    def reads(self) -> tuple[str, ...]:
        """Every tensor that must exist before this node runs, those of the epilogue included."""
        return (*self.operands, *((*filter(None, self.otherwise), self.guard) if self.guard else ()))

    @property
    def operands(self) -> tuple[str, ...]:
        """What it reads where it runs: without its guard, and what its outputs are otherwise."""
        inner = {self.body_output, *(f.outputs[0] for f in self.fused)}
        names = [n for n in self.inputs if n]
        for fused in self.fused:
            names += [n for n in fused.inputs if n and n not in inner]
        return tuple(names)

    @property
    def skipped_outputs(self) -> tuple[str, ...]:
        """The outputs that hold nothing when the node is skipped."""
        if not self.guard:
            return ()
        kept = (*self.otherwise, *[""] * len(self.outputs))
        return tuple(name for name, other in zip(self.outputs, kept, strict=False) if name and not other)

    @property
    def body_output(self) -> str:
        """The tensor between the node's own op and its epilogue; never stored."""
        return f"{self.outputs[0]}|body" if self.fused else self.outputs[0]


class ConstantPool(Protocol):
    """The constants of a graph: arrays by name, with specs that are known without decoding."""

    def __getitem__(self, name: str) -> Array: ...
    def __contains__(self, name: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def spec(self, name: str) -> TensorSpec:
        """Shape and dtype, without decoding the array."""
        ...


class Arrays(dict[str, Array]):
    """A constant pool in memory."""

    def spec(self, name: str) -> TensorSpec:
        """Shape and dtype of one constant."""
        return TensorSpec.of(self[name])


@frozen
class Graph:
    """A network: inputs, constants, nodes in an order in which they can run, outputs."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: ConstantPool = field(default_factory=Arrays)

    def __post_init__(self) -> None:
        defined = set(self.inputs) | set(self.constants)
        taken = set(defined)  # those, and the names within epilogues
        guards = _Guards(self.constants)
        for node in self.nodes:
            for name in node.reads:
                if name not in defined:
                    raise GraphError(
                        f"{node.label}: expected its input {name!r} to be defined before it, got no such tensor; "
                        "the graph has a cycle or a missing node"
                    )
            if (lost := guards.lost(node)) is not None:
                raise GraphError(
                    f"{node.label}: expected {lost!r} to be there whenever the node runs, got a tensor that is skipped by "
                    f"{guards.held[lost]!r}; guard both, or say what it is otherwise"
                )
            if node.fused:
                _check_epilogue(node, taken)
            for name in node.outputs:
                if name in taken:
                    raise GraphError(f"{node.label}: expected a new output name, got {name!r} twice; rename one")
                if name:
                    taken.add(name)
                    defined.add(name)
            guards.note(node)
        for name in self.outputs:
            if name in guards.held:
                raise GraphError(
                    f"graph {self.name}: expected output {name!r} in every run, got one that is skipped by "
                    f"{guards.held[name]!r}; say what it is otherwise"
                )
            if name not in defined:
                raise GraphError(f"graph {self.name}: expected output {name!r} to be computed, got no such tensor")

    def held(self) -> dict[str, str]:
        """The tensors that do not hold something in every run, with the guard under which they do."""
        guards = _Guards(self.constants)
        for node in self.nodes:
            guards.note(node)
        return guards.held

    def consumers(self) -> dict[str, list[Node]]:
        """Which nodes read each tensor."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.reads:
                readers.setdefault(name, []).append(node)
        return readers

    def producers(self) -> dict[str, Node]:
        """Which node writes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def with_nodes(self, nodes: list[Node] | tuple[Node, ...], constants: Mapping[str, Array] | None = None) -> Graph:
        """The same graph with other nodes, and `constants` (if given) added to its pool."""
        pool = self.constants
        if constants:
            merged = Arrays({name: pool[name] for name in pool})
            merged.update(constants)
            pool = merged
        return replace(self, nodes=tuple(nodes), constants=pool)


def _check_epilogue(node: Node, taken: set[str]) -> None:
    """Refuse an epilogue whose stages do not lead, each from the result before it alone, to the node's first output.

    taken : the names of tensors so far; those within the epilogue must be others, and are added
    raise : GraphError
    """
    running = node.body_output
    for stage in node.fused:
        if running in taken or running in node.outputs or stage.fused or stage.guard:
            raise GraphError(f"{node.label}: expected new names within its epilogue, got {running!r} twice; rename one")
        taken.add(running)
        others = [name for name in stage.inputs if name != running]
        hidden = next((later.outputs[0] for later in node.fused if later.outputs[0] in others), node.body_output)
        if running not in stage.inputs or len(stage.outputs) != 1 or hidden in others:
            raise GraphError(
                f"{node.label}: expected the stages of its epilogue to read {running!r}, the result before them, got "
                f"{', '.join(map(repr, stage.inputs))}; the epilogue leads nowhere"
            )
        running = stage.outputs[0]
    if running != node.outputs[0]:
        raise GraphError(
            f"{node.label}: expected its epilogue to end in {node.outputs[0]!r}, got {running!r}; the epilogue leads nowhere"
        )


class _Guards:
    """Which tensors hold something only under a guard. A Branch makes two guards: one of them is set wherever it runs itself.

    held : tensor -> the guard under which alone it holds something
    """

    def __init__(self, constants: ConstantPool) -> None:
        self._constants = constants
        self.held: dict[str, str] = {}
        self._opposite: dict[str, str] = {}
        self._outer: dict[str, str] = {}  # guard -> the guard that it implies: that of its Branch

    def lost(self, node: Node) -> str | None:
        """A tensor that the node reads, and that may hold nothing then."""
        for name in node.operands:
            if not self._implies(node.guard, self.held.get(name, "")):
                return name
        if node.guard in self.held:
            return node.guard
        for name in node.otherwise:
            where = self.held.get(name, "") if node.guard else ""
            if where != self._opposite.get(node.guard, "") and not self._implies(
                self._outer.get(node.guard, ""), where
            ):
                return name
        return None

    def note(self, node: Node) -> None:
        """What its outputs are, and where. raise : GraphError on a Branch that has not its two flags"""
        if node.op == "Branch" and (len(node.outputs) != 2 or not all(node.outputs)):
            raise GraphError(
                f"{node.label}: expected the flags of two branches, got {len(node.outputs)}; rebuild the graph"
            )
        if not node.guard:
            pass
        elif node.op == "Branch" and self._is_zero_otherwise(node):
            self._outer.update(dict.fromkeys(node.outputs, node.guard))
        else:
            self.held.update(dict.fromkeys(node.skipped_outputs, node.guard))
            for name, other in zip(node.outputs, node.otherwise, strict=False):
                where = self.held.get(other, "")
                if where == self._opposite.get(node.guard, "-"):  # one of the two runs wherever their Branch does
                    where = self._outer.get(node.guard, "")
                if name and other and where:
                    self.held[name] = where
        if node.op == "Branch":
            self._opposite.update(zip(node.outputs, reversed(node.outputs), strict=True))

    def _is_zero_otherwise(self, node: Node) -> bool:
        names = node.otherwise
        return len(names) == 2 and all(name in self._constants and not self._constants[name].any() for name in names)

    def _implies(self, guard: str, wanted: str) -> bool:
        while guard and guard != wanted:
            guard = self._outer.get(guard, "")
        return guard == wanted
