"""What one case of the kernel table is: a node, its inputs, and how near to its reference it must come."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.ops.contract import find

SPECIAL = (np.nan, np.inf, -np.inf, -0.0)


@dataclass(frozen=True)
class Input:
    """One input: its shape, or its value; `known` makes it a constant of the graph."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    value: tuple[Any, ...] | int | float | None = None
    known: bool = False
    low: float = -4.0  # range of the values, if uniform
    high: float = 4.0
    special: bool = False  # with infinities, NaN and a negative zero

    def array(self, rng: np.random.Generator) -> Array:
        """Its value; floats are rounded to eighths now and then, so that ties and halves occur."""
        if self.value is not None:
            return np.array(self.value, self.dtype)
        if self.dtype == "bool":
            return np.asarray(rng.random(self.shape) < 0.5)
        if self.dtype.startswith(("int", "uint")):
            info = np.iinfo(self.dtype)
            return rng.integers(max(self.low, info.min), self.high, self.shape).astype(self.dtype)
        x = rng.uniform(self.low, self.high, self.shape)
        x = np.where(rng.random(self.shape) < 0.25, np.round(x * 8) / 8, x).astype(self.dtype)
        if self.special:
            x.reshape(-1)[: len(SPECIAL)] = SPECIAL[: x.size]
        return x


@dataclass(frozen=True)
class Stage:
    """An element-wise node fused behind another: its op, and the operands beside the running value."""

    op: str
    operands: tuple[Input, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    right: bool = False  # the running value is the second input


@dataclass(frozen=True)
class Case:
    """One node.

    terms    : length of the longest sum; the tolerance grows with its root
    slack    : further factor of the tolerance
    exact    : the result must be equal bit for bit (NaN apart)
    kernel   : whether there is a kernel for it
    """

    op: str
    inputs: tuple[Input | None, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    fused: tuple[Stage, ...] = ()
    n_outputs: int = 1
    terms: int = 1
    slack: float = 1.0
    exact: bool = False
    kernel: bool = True

    @property
    def label(self) -> str:
        """What pytest calls it."""
        shapes = [("none" if i is None else ("k" if i.known else "") + _label(i)) for i in self.inputs]
        attrs = [f"{k}={str(v).replace(' ', '')}" for k, v in self.attrs.items()]
        return "-".join(
            [self.op, *shapes, *attrs, *("+" + s.op + "".join(map(_label, s.operands)) for s in self.fused)]
        )

    def build(self) -> tuple[Graph, dict[str, Array]]:
        """The graph of this one node, and values for its inputs."""
        rng = np.random.default_rng(zlib.crc32(self.label.encode()))
        inputs: dict[str, TensorSpec] = {}
        feeds: dict[str, Array] = {}
        constants = Arrays()

        def add(given: Input | None, name: str) -> str:
            if given is None:
                return ""
            array = given.array(rng)
            if given.known:
                constants[name] = array
            else:
                inputs[name], feeds[name] = TensorSpec.of(array), array
            return name

        names = tuple(add(given, f"x{i}") for i, given in enumerate(self.inputs))
        outputs = tuple(f"y{i}" for i in range(self.n_outputs))
        stages: list[Node] = []
        running = "y0|body"
        for s, stage in enumerate(self.fused):
            operands = tuple(add(given, f"x{s}_{i}") for i, given in enumerate(stage.operands))
            output = "y0" if s == len(self.fused) - 1 else f"s{s}"
            reads = (*operands, running) if stage.right else (running, *operands)
            stages.append(Node(stage.op, reads, (output,), find(stage.op, "case").make_attrs(stage.attrs, "case")))
            running = output
        attrs = find(self.op, "case").make_attrs(self.attrs, "case")
        return Graph(
            "case", inputs, outputs, (Node(self.op, names, outputs, attrs, "node", tuple(stages)),), constants
        ), feeds


def _label(given: Input) -> str:
    if given.value is not None:
        return given.dtype.replace("float32", "").replace("int64", "") + str(given.value).replace(" ", "")
    kind = {"float32": "", "bool": "b"}.get(given.dtype, given.dtype)
    extras = ("special",) if given.special else ()
    if (given.low, given.high) != (-4.0, 4.0):
        extras = (*extras, f"{given.low:g}..{given.high:g}")
    return "|".join([kind + ("x".join(map(str, given.shape)) if given.shape else "scalar"), *extras])


def f(*shape: int, **more: Any) -> Input:
    """A computed float32 tensor."""
    return Input(shape, **more)


def w(*shape: int, **more: Any) -> Input:
    """A constant float32 tensor."""
    return Input(shape, known=True, **more)


def i(*values: int) -> Input:
    """A constant list of integers."""
    return Input((len(values),), "int64", values, known=True)


def scalar(value: float, dtype: str = "float32") -> Input:
    """A constant scalar."""
    return Input((), dtype, value, known=True)
