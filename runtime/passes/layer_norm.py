"""LayerNormalization from its definition: (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias."""

from __future__ import annotations

import numpy as np

from alula.runtime.graph import Graph, Node
from alula.runtime.passes.operands import other_operand, scalar_operand
from alula.runtime.passes.rewrite import Rewrite, make_node
from alula.runtime.passes.shapes import Shapes

ONES, ZEROS = "|ones", "|zeros"  # how the names of a scale and of a shift end that the network does not have


def fuse_layer_norm(graph: Graph) -> Graph:
    """ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div (, Mul, Add) over the last axes -> LayerNormalization."""
    shapes, rewrite = Shapes(graph), Rewrite(graph)
    for quotient in rewrite.nodes("Div"):
        _fuse(rewrite, shapes, quotient)
    return rewrite.graph()


def _fuse(rewrite: Rewrite, shapes: Shapes, quotient: Node) -> None:
    root = rewrite.maker(quotient.inputs[1], "Sqrt")
    plus = rewrite.maker(root.inputs[0], "Add") if root is not None else None
    shifted = scalar_operand(rewrite, plus)
    if quotient.fused or root is None or plus is None or shifted is None:
        return
    variance, centred = rewrite.maker(shifted[0], "ReduceMean"), rewrite.maker(quotient.inputs[0], "Sub")
    square = rewrite.maker(variance.inputs[0], "Pow", "Mul") if variance is not None else None
    mean = rewrite.maker(centred.inputs[1], "ReduceMean") if centred is not None else None
    if variance is None or centred is None or square is None or mean is None:
        return
    x = centred.inputs[0]
    again = _squared(rewrite, square)
    twin = rewrite.maker(again, "Sub") if again is not None else None
    if twin is None or twin.inputs != centred.inputs or mean.inputs[0] != x:
        return
    axis = _axis(rewrite, shapes, mean)
    if axis is None or axis != _axis(rewrite, shapes, variance):
        return
    found = [mean, centred, square, variance, plus, root, quotient]
    found += [twin] if twin is not centred else []
    inside = {node.outputs[0] for node in found}
    for node in found[:-1] if twin is centred else [*found[:-2], twin]:
        readers = rewrite.readers(node.outputs[0])
        if node.outputs[0] in rewrite.outputs or any(reader.outputs[0] not in inside for reader in readers):
            return
    shape = shapes.shape(x)
    tail = None if shape is None else tuple(d for d in shape[axis:] if isinstance(d, int))
    if shape is None or tail is None or len(tail) != -axis:
        return
    last, inputs = quotient, [x]
    scale = _vector(rewrite, rewrite.only_reader(last.outputs[0], "Mul"), last.outputs[0], tail)
    if scale is not None:
        inputs.append(scale[1])
        found.append(last := scale[0])
        bias = _vector(rewrite, rewrite.only_reader(last.outputs[0], "Add"), last.outputs[0], tail)
        if bias is not None:
            inputs.append(bias[1])
            found.append(last := bias[0])
    else:
        spec = shapes.spec(x)
        ones = np.ones(tail, spec.dtype if spec is not None else "float32")
        inputs.append(rewrite.constant(f"{quotient.outputs[0]}{ONES}", ones))
    norm = make_node("LayerNormalization", inputs, last.outputs[0], last.name, axis=axis, epsilon=shifted[1])
    rewrite.exchange(found, [norm])


def _squared(rewrite: Rewrite, node: Node) -> str | None:
    """The tensor that a Pow or a Mul squares."""
    if node.op == "Mul":
        return node.inputs[0] if node.inputs[0] == node.inputs[1] else None
    found = scalar_operand(rewrite, node)
    return found[0] if found is not None and found[1] == 2 else None


def _axis(rewrite: Rewrite, shapes: Shapes, node: Node) -> int | None:
    """The first of the axes that a ReduceMean takes, counted from the end, if they are all from there on."""
    rank = shapes.rank(node.inputs[0])
    axes = rewrite.integers(node.inputs[1]) if len(node.inputs) > 1 else None
    if rank is None or not axes or not node.attrs.keepdims:
        return None
    found = sorted(axis % rank for axis in axes)
    return -len(found) if found == list(range(rank - len(found), rank)) else None


def _vector(rewrite: Rewrite, node: Node | None, tensor: str, tail: tuple[int, ...]) -> tuple[Node, str] | None:
    """A node that joins a tensor with a constant of shape `tail`, and the constant."""
    other = other_operand(node, tensor) if node is not None else None
    value = rewrite.value(other) if other is not None else None
    if node is None or other is None or value is None or value.shape != tail:
        return None
    return node, other
