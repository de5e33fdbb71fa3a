"""Writes one step of a file as several of opset 21."""

from __future__ import annotations

from typing import Any

import numpy as np

from alula.host.onnx.steps import Build, Step
from alula.runtime.errors import GraphError


class Writer:
    """The steps that stand for one, in order."""

    def __init__(self, step: Step, build: Build) -> None:
        self.step, self.build = step, build
        self.steps: list[Step] = []

    def input(self, index: int) -> str:
        """The name of an input that must be there. raise : GraphError if it is absent"""
        name = self.step.input(index)
        if not name:
            raise GraphError(f"{self.step.label}: expected input {index}, got none; the file is damaged")
        return name

    def add(self, op: str, *inputs: str, out: str = "", **attrs: Any) -> str:
        """Append a step of one output, called `out` or anew; returns the output's name."""
        names = list(inputs)
        while names and not names[-1]:
            names.pop()
        made = out or self.build.fresh(f"{self.step.outputs[0]}.{op.lower()}")
        self.steps.append(Step(op, names, [made], attrs, self.step.name if out else ""))
        return made

    def end(self, op: str, *inputs: str, **attrs: Any) -> list[Step]:
        """Append the step that makes the first output; returns all steps."""
        self.add(op, *inputs, out=self.step.outputs[0], **attrs)
        return self.steps

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """The name of a new constant."""
        return self.build.constant(f"{self.step.outputs[0]}.constant", np.asarray(value, dtype), dtype)

    def integers(self, *values: int) -> str:
        """A list of int64: axes, or a shape."""
        return self.constant(values, "int64")

    def split(self, x: str, sizes: tuple[int, ...], axis: int) -> list[str]:
        """The parts of a tensor."""
        outputs = [self.build.fresh(f"{self.step.outputs[0]}.part") for _ in sizes]
        self.steps.append(Step("Split", [x, self.integers(*sizes)], outputs, {"axis": axis}))
        return outputs

    def only(self, count: int) -> None:
        """raise : GraphError if the step has more outputs than `count`, and somebody may read them"""
        extra = [name for name in self.step.outputs[count:] if name]
        if extra:
            raise GraphError(f"{self.step.label}: expected {count} outputs, got also {extra[0]!r}; export without it")

    def refuse(self, *attributes: str) -> None:
        """raise : GraphError if an attribute that changes the meaning is set"""
        for name in attributes:
            if self.step.attrs.get(name):
                raise GraphError(
                    f"{self.step.label}: expected {name} at its default, got {self.step.attrs[name]!r}; export without it"
                )
