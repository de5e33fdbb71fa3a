"""A node of an ONNX file on its way into our graph, and what is known of the tensors around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array


@dataclass
class Step:
    """An ONNX node on its way into our graph: names of tensors, attributes as plain values.

    guard, otherwise : as those of a node of our graph
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    guard: str = ""
    otherwise: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How errors call this step."""
        return f"{self.name or next((o for o in self.outputs if o), '?')} ({self.op})"

    def input(self, index: int) -> str:
        """The name of an input, "" where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""


def fresh(hint: str, taken: set[str], joint: str = ".") -> str:
    """A name that nothing else has, the hint or the hint with a number; it is taken now."""
    name, count = hint, 1
    while name in taken:
        count += 1
        name = f"{hint}{joint}{count}"
    taken.add(name)
    return name


@dataclass
class Build:
    """What the rules share.

    constants : tensor -> its value
    shapes    : tensor -> its sizes, as far as they are known; None: a free one
    dtypes    : tensor -> NumPy's name of its dtype
    taken     : names of tensors that exist
    """

    constants: dict[str, Array]
    shapes: dict[str, tuple[int | None, ...]]
    dtypes: dict[str, str]
    taken: set[str]

    def fresh(self, hint: str) -> str:
        """A tensor name that nothing else has."""
        return fresh(hint, self.taken)

    def constant(self, hint: str, array: Any, dtype: str) -> str:
        """A new constant; returns its name."""
        name = self.fresh(hint)
        self.constants[name] = np.asarray(array, dtype)
        self.shapes[name], self.dtypes[name] = self.constants[name].shape, dtype
        return name

    def rank(self, name: str, where: str) -> int:
        """The number of dimensions of a tensor.

        raise : GraphError if shape inference could not tell
        """
        if name not in self.shapes:
            raise GraphError(
                f"{where}: expected the number of dimensions of {name!r} to follow from the model, got an unknown one; "
                "give the model's inputs their shapes"
            )
        return len(self.shapes[name])


# (a step, the opset it was written for, what is known) -> steps of opset 21
Rule = Callable[[Step, int, Build], list[Step]]
