"""Operands of element-wise ops in the form that other passes expect: constants without leading dimensions of 1."""

from __future__ import annotations

from dataclasses import replace

from alula.runtime.graph import Graph, Node
from alula.runtime.passes.names import TRIMMED
from alula.runtime.passes.rewrite import Rewrite
from alula.runtime.passes.shapes import Shapes
from alula.runtime.passes.transposes import is_pointwise


def trim_operands(graph: Graph) -> Graph:
    """Drop the leading ones of constant operands: (1, 1, 1, C) becomes (C,), (1, 1, 1, 1) becomes ()."""
    shapes, rewrite = Shapes(graph), Rewrite(graph)
    trimmed: dict[str, str] = {}
    for node in rewrite.nodes():
        if node.fused or len(node.inputs) < 2 or not is_pointwise(node):
            continue
        output = shapes.rank(node.outputs[0])
        constants = [name for name in node.inputs if name and rewrite.is_constant(name)]
        ranks = [shapes.rank(name) for name in node.inputs if name and name not in constants]
        if output is None or output not in ranks:
            continue  # the constant itself may bring the output's rank
        for name in constants:
            value = rewrite.value(name)
            assert value is not None
            if name in trimmed or value.ndim == 0 or value.shape[0] != 1:
                continue
            first = next((axis for axis, size in enumerate(value.shape) if size != 1), value.ndim)
            trimmed[name] = rewrite.constant(f"{name}{TRIMMED}", value.reshape(value.shape[first:]))
        if any(name in trimmed for name in node.inputs):
            rewrite.exchange([node], [replace(node, inputs=tuple(trimmed.get(name, name) for name in node.inputs))])
    return rewrite.graph()


def scalar_operand(rewrite: Rewrite, node: Node | None) -> tuple[str, float] | None:
    """The tensor and the number of an op of two inputs, one of which is a constant of one element.

    Of Sub, Div and Pow it is the second; of Add, Mul, Min and Max either.
    """
    if node is None or node.fused or len(node.inputs) != 2:
        return None
    x, other = node.inputs
    for tensor, operand in ((x, other), (other, x)):
        number = rewrite.scalar(operand)
        if number is not None and not rewrite.is_constant(tensor):
            return tensor, number
        if node.op in ("Sub", "Div", "Pow"):
            break
    return None


def is_near(value: float | None, wanted: float) -> bool:
    """Whether a float32 stands for the number."""
    return value is not None and abs(value - wanted) <= 1e-6 * abs(wanted)


def factor(rewrite: Rewrite, node: Node | None) -> tuple[str, float] | None:
    """The tensor that a Mul or Div multiplies by a number, and the number."""
    found = scalar_operand(rewrite, node) if node is not None and node.op in ("Mul", "Div") else None
    if found is None or node is None:
        return None
    x, number = found
    if node.op == "Mul":
        return x, number
    return (x, 1 / number) if number else None


def other_operand(node: Node, tensor: str) -> str | None:
    """The other input of an op of two, one of which is `tensor`."""
    if len(node.inputs) != 2 or tensor not in node.inputs or node.fused:
        return None
    return node.inputs[1] if node.inputs[0] == tensor else node.inputs[0]
