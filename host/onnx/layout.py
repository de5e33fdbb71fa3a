"""Channels first to channels last: every spatial op is put between two Transposes, its weight is transposed once.

Most of the Transposes meet their inverse at the next op; a pass of the engine removes those pairs.
"""

from __future__ import annotations

from collections import ChainMap

import numpy as np

from alula.host.onnx.steps import Build, Step
from alula.runtime.errors import GraphError
from alula.runtime.ops.contract import find
from alula.runtime.ops.traits import ChannelsLast
from alula.runtime.passes.names import CHANNELS_LAST


def to_last(rank: int) -> tuple[int, ...]:
    """The permutation (N, C, *spatial) -> (N, *spatial, C); also (C_OUT, C_IN, *kernel) -> (C_OUT, *kernel, C_IN)."""
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> tuple[int, ...]:
    """The permutation (N, *spatial, C) -> (N, C, *spatial)."""
    return (0, rank - 1, *range(1, rank - 1))


def _rank(step: Step, spatial: ChannelsLast, build: Build) -> int:
    for weight in map(step.input, spatial.inputs[1:]):
        if weight in build.shapes:
            return len(build.shapes[weight])
    if "kernel_shape" in step.attrs:
        return len(step.attrs["kernel_shape"]) + 2
    return build.rank(step.inputs[0], step.label)


class Layout:
    """Wraps steps; a tensor that several steps need channels last is transposed once."""

    def __init__(self, build: Build, outer: Layout | None = None) -> None:
        """outer : of the part of the network in which this branch stands"""
        self.build = build
        known = [outer.transposed] if outer else []
        self.transposed: ChainMap[str, str] = ChainMap({}, *known)  # tensor -> the same, channels last

    def channels_last(self, name: str, rank: int, steps: list[Step]) -> str:
        """The name of a tensor in channels-last order; appends a Transpose unless it is a constant or known."""
        if name not in self.transposed:
            other = self.transposed[name] = self.build.fresh(f"{name}{CHANNELS_LAST}")
            perm = to_last(rank)
            if name in self.build.constants:
                value = self.build.constants[name]
                self.build.constants[other] = (
                    np.ascontiguousarray(value.transpose(perm)) if value.ndim == rank else value
                )
            else:
                steps.append(Step("Transpose", [name], [other], {"perm": perm}))
        return self.transposed[name]

    def wrap(self, step: Step) -> list[Step]:
        """The steps that compute an NCHW step with a channels-last op."""
        spatial = find(step.op, step.label).channels_last
        if spatial is None:
            return [step]
        rank = _rank(step, spatial, self.build)
        if rank < 3:
            return [step]  # (N, C) has no spatial axes: channels are last already
        if missing := [index for index in spatial.inputs if not step.input(index)]:
            raise GraphError(f"{step.label}: expected input {missing[0]} to be given, got none; the file is damaged")
        steps: list[Step] = []
        for index in spatial.inputs:
            step.inputs[index] = self.channels_last(step.inputs[index], rank, steps)
        after = []
        for index in (number for number in spatial.outputs if number < len(step.outputs)):
            first, last = step.outputs[index], self.build.fresh(f"{step.outputs[index]}{CHANNELS_LAST}")
            if first:
                self.transposed[first] = step.outputs[index] = last
                after.append(Step("Transpose", [last], [first], {"perm": to_first(rank)}))
        return [*steps, step, *after]
