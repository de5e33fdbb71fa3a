"""Optimiser steps as flat loops over a variable's storage, its padding included."""

from __future__ import annotations

import math
from typing import Any

from alula.runtime.graph import Node
from alula.runtime.ops.update import kernel as kernels
from alula.runtime.planning.lowering import Lowering, Ref, Word, lowers

PLAIN_STEP, MOMENTUM, NESTEROV = range(3)


def _flat(lowering: Lowering, name: str) -> tuple[Ref, int]:
    """A tensor in the order in which it lies, and how many elements that are; the address means nothing if it is absent."""
    if lowering.known(lowering.root(name)):
        return lowering.ref(name), lowering.spec(name).size
    variable = lowering.variable_of(name)
    if variable and variable.packing is None:
        variable.settle()
    return lowering.storage(name)


def _step(lowering: Lowering, node: Node, tensors: dict[str, int], scalars: dict[str, int]) -> dict[str, Any]:
    """Arguments of a step's kernel: inputs by number, and the size. An absent tensor is the address 0."""
    found: dict[str, Any] = {"n": _flat(lowering, node.inputs[0])[1]}
    for name, index in tensors.items():
        found[name] = _flat(lowering, node.inputs[index])[0] if node.inputs[index] else 0
    for name, index in scalars.items():
        found[name] = lowering.ref(node.inputs[index])
    return found


def _output(lowering: Lowering, node: Node, index: int) -> Word:
    """The address of an output; scratch if nothing reads it, 0 if the step has none."""
    if index >= len(node.outputs):
        return 0
    if not node.outputs[index]:
        return lowering.scratch(4 * _flat(lowering, node.inputs[0])[1])
    return lowering.storage(node.outputs[index])[0]


@lowers("SGDUpdate")
def lower_sgd(lowering: Lowering, node: Node) -> bool:
    """SGDUpdate."""
    attrs, has_buffer = node.attrs, bool(node.inputs[2])
    kind = PLAIN_STEP if not has_buffer else NESTEROV if attrs.nesterov else MOMENTUM
    arguments = _step(lowering, node, {"w": 0, "g": 1, "buffer": 2}, {"lr": 3, "scale": 4})
    lowering.emit(
        kernels.f32_sgd, **arguments, new=_output(lowering, node, 0), new_buffer=_output(lowering, node, 1), kind=kind,
        momentum=float(attrs.momentum), decay=float(attrs.weight_decay),
    )  # fmt: skip
    return True


@lowers("AdamUpdate")
def lower_adam(lowering: Lowering, node: Node) -> bool:
    """AdamUpdate."""
    attrs = node.attrs
    tensors = {"w": 0, "g": 1, "first": 2, "second": 3}
    arguments = _step(lowering, node, tensors, {"lr": 4, "step": 5, "scale": 6})
    for i, name in enumerate(("new", "new_first", "new_second")):
        arguments[name] = _output(lowering, node, i)
    for i, beta in ((1, attrs.beta1), (2, attrs.beta2)):
        arguments |= {
            f"beta_{i}": float(beta),
            f"rest_{i}": 1.0 - beta,
            f"log_{i}": math.log(beta) if beta else -math.inf,
        }
    lowering.emit(
        kernels.f32_adam, **arguments, epsilon=float(attrs.epsilon), decay=float(attrs.weight_decay),
        decoupled=attrs.decoupled,
    )  # fmt: skip
    return True


@lowers("SignSGDUpdate")
def lower_sign_sgd(lowering: Lowering, node: Node) -> bool:
    """SignSGDUpdate: Lion whose two means are one."""
    return _emit_lion(lowering, node, node.attrs.momentum, node.attrs.momentum)


@lowers("LionUpdate")
def lower_lion(lowering: Lowering, node: Node) -> bool:
    """LionUpdate."""
    return _emit_lion(lowering, node, node.attrs.beta1, node.attrs.beta2)


def _emit_lion(lowering: Lowering, node: Node, beta_1: float, beta_2: float) -> bool:
    arguments = _step(lowering, node, {"w": 0, "g": 1, "mean": 2}, {"lr": 3, "scale": 4})
    lowering.emit(
        kernels.f32_lion, **arguments, new=_output(lowering, node, 0), new_mean=_output(lowering, node, 1),
        remembers=int(bool(node.inputs[2])), beta_1=float(beta_1), rest_1=1.0 - beta_1, beta_2=float(beta_2),
        rest_2=1.0 - beta_2, decay=float(node.attrs.weight_decay),
    )  # fmt: skip
    return True


@lowers("AverageUpdate")
def lower_average(lowering: Lowering, node: Node) -> bool:
    """AverageUpdate."""
    arguments = _step(lowering, node, {"mean": 0, "w": 1}, {"rate": 2})
    lowering.emit(kernels.f32_average, **arguments, new=_output(lowering, node, 0))
    return True


@lowers("AccumulateUpdate")
def lower_accumulate(lowering: Lowering, node: Node) -> bool:
    """AccumulateUpdate."""
    arguments = _step(lowering, node, {"total": 0, "g": 1}, {"keep": 2})
    lowering.emit(kernels.f32_accumulate, **arguments, new=_output(lowering, node, 0))
    return True


@lowers("SquaredNorm")
def lower_squared_norm(lowering: Lowering, node: Node) -> bool:
    """SquaredNorm: sums of chunks of all gradients, then their sum."""
    parts = [_flat(lowering, name) for name in node.inputs]
    chunks = [math.ceil(size / kernels.CHUNK) for _, size in parts]
    sums, at = lowering.scratch(4 * sum(chunks)), 0
    for (x, size), count in zip(parts, chunks, strict=True):
        if count:
            lowering.emit(kernels.f32_square_sums, x=x, sums=sums + 4 * at, n=size)
        at += count
    lowering.emit(kernels.f32_total, x=sums, y=lowering.ref(node.outputs[0]), n=at)
    return True
