"""The head of a network that tells classes apart, and the classes of the data: they fit, or the user says what is to be done.

The head is the last layer with weights. A fresh one has one output for each class of the data. Its weights are small: what is
drawn in directions that no training sample has stays there, and is noise for all others (docs/decisions.md).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from alula.runtime.data.choices import HEADS
from alula.runtime.errors import GraphError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Arrays, Graph, Node
from alula.runtime.ops.contract import find
from alula.runtime.ops.traits import BIAS, WEIGHT, axis_for
from alula.runtime.passes.trainable import trainable_form

NEW, KEEP = HEADS
LAYERS = frozenset({"Gemm", "MatMul", "Conv"})
# What may stand between the head and the scores, each class for itself or all alike
PASSED = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Transpose", "Softmax", "LogSoftmax", "Sigmoid",
     "GlobalAveragePool", "AveragePool", "ReduceMean", "Dropout"}
)  # fmt: skip
BIAS_DEVIATION = 0.05  # as in the zoo; not 0, since an Add of zeros would be removed before it is trained
GAIN = 0.1  # of the weights, against He et al. (2015), which the zoo has
SHOWN = 3  # classes that a message names


@frozen
class FittedClasses:
    """A network and the classes that its outputs stand for.

    classes : one for each output; () if they have no names
    places  : of the data's classes among the outputs; None: as they are
    notes   : what the user should know, a line each
    """

    graph: Graph
    classes: tuple[str, ...]
    places: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()


def fit_classes(
    graph: Graph, outputs: int, known: tuple[str, ...], data: tuple[str, ...], head: str | None, seed: int, where: str,
    advise: bool = True,
) -> FittedClasses:  # fmt: skip
    """Bring a network and the classes of a data set together.

    outputs : of the network
    known   : the classes that its file names; () if none
    data    : the classes of the data; numbers if they have no names
    head    : new, keep, or None: what to do where they differ
    seed    : of a fresh head
    advise  : tell of the heads that can be trained
    raise   : GraphError if they differ and nothing is said, or the head cannot be found
    """
    named = data != tuple(map(str, range(len(data))))
    if head == NEW:
        layer, fresh = with_new_head(graph, outputs, len(data), seed, where)
        return FittedClasses(fresh, data, None, (f"a fresh head: {layer}, {len(data)} outputs instead of {outputs}",))
    if len(data) == outputs and (known == data or not known or not named):
        return FittedClasses(graph, known or data)
    if known and named and set(data) <= set(known):
        what = "the network's in another order" if len(data) == outputs else f"{len(data)} of the network's {outputs}"
        places = tuple(known.index(name) for name in data)
        return FittedClasses(graph, known, places, (f"the classes of the data are {what}; labels follow the names",))
    if head == KEEP and len(data) <= outputs:
        rest = known[len(data) :] if known else tuple(map(str, range(len(data), outputs)))
        clash = set(rest) & set(data)
        classes = (*data, *(f"{name} (before)" if name in clash else name for name in rest))
        note = (
            f"the head is kept: its outputs 0 to {len(data) - 1} of {outputs} are trained for the classes of the data"
        )
        return FittedClasses(graph, classes, None, (note,))
    advice = f"--head new trains a fresh head of {len(data)}"
    advice += (
        f", --head keep the first {len(data)} outputs of this one"
        if len(data) <= outputs
        else ", --head keep cannot: too few outputs"
    )
    have = f"{outputs} classes ({_some(known)})" if known else f"{outputs} classes, one for each output"
    raise GraphError(
        f"{where}: expected {have}, got {len(data)} in the data ({_some(data)}); "
        + (advice if advise else "give data of the network's classes")
    )


def with_new_head(graph: Graph, outputs: int, classes: int, seed: int, where: str) -> tuple[str, Graph]:
    """The name of a network's head, and the network with a fresh one of the same name.

    raise : GraphError, saying what was seen, if there is none
    """
    graph = trainable_form(graph)  # constants are folded, and so are reshapes that lead nowhere
    path = _path_to_head(graph, outputs, where)
    rng = np.random.default_rng(seed)
    layer = path[-1]
    changed: dict[str, Array] = {}
    readers = graph.consumers()
    for name, axis, role in _sized(graph, path, outputs):
        old = graph.constants[name]
        if len({id(node) for node in readers[name]}) > 1 or name in graph.outputs:
            raise GraphError(
                f"{where}: expected a head with weights of its own, got {name!r}, which others read too; export it again"
            )
        shape = (*old.shape[:axis], classes, *old.shape[axis + 1 :])
        if role == WEIGHT:
            fan_in = old.size // outputs
            changed[name] = rng.normal(0, GAIN * math.sqrt(2 / fan_in), shape).astype(old.dtype)
        elif role == BIAS:
            changed[name] = rng.normal(0, GAIN * BIAS_DEVIATION, shape).astype(old.dtype)
        else:
            changed[name] = np.where(old == outputs, classes, old)  # a shape
    pool = Arrays({name: changed.get(name, graph.constants[name]) for name in graph.constants})
    return layer.label, replace(graph, constants=pool)


def _path_to_head(graph: Graph, outputs: int, where: str) -> list[Node]:
    """The nodes from the scores back to the head, which is the last of them."""
    makers = graph.producers()
    name, path, seen = graph.outputs[0], list[Node](), list[str]()
    while (node := makers.get(name)) is not None:
        seen.append(node.label)
        ops = (node.op, *(stage.op for stage in node.fused))
        path.append(node)
        if not all(op in PASSED | LAYERS | {"Add"} or _is_activation(graph, node, op) for op in ops):
            break
        if node.op in LAYERS and node.inputs[1] in graph.constants and _has_outputs(graph, node, outputs):
            return path
        inner = [source for source in node.inputs if source and source not in graph.constants]
        if len(inner) != 1 or node.op in LAYERS:
            break
        name = inner[0]
    raise GraphError(
        f"{where}: expected a head of {outputs} outputs (Gemm, MatMul or 1x1 Conv) before the scores, got "
        f"{' after '.join(seen[:4]) or 'none'}; cut the network before it, or train it with --head keep"
    )


def _is_activation(graph: Graph, node: Node, op: str) -> bool:
    """Whether an op does the same to every score: element-wise, and beside them it reads single numbers."""
    parts = [part for part in (node, *node.fused) if part.op == op]
    others = [name for part in parts for name in part.inputs[1:] if name]
    return find(op, node.label).elementwise and all(
        name in graph.constants and graph.constants.spec(name).size == 1 for name in others
    )


def _has_outputs(graph: Graph, node: Node, outputs: int) -> bool:
    spec = graph.constants.spec(node.inputs[1])
    axis = axis_for(find(node.op, node.label).operands[1].outputs, node.attrs)
    kernel = spec.dims[1:-1] if node.op == "Conv" else ()
    return axis is not None and spec.dims[axis] == outputs and all(dim == 1 for dim in kernel)


def _sized(graph: Graph, path: list[Node], outputs: int) -> list[tuple[str, int, str]]:
    """The constants on the path whose size is the number of classes: name, axis, and what they are."""
    found: dict[str, tuple[str, int, str]] = {}
    layer = path[-1]
    for number, operand in find(layer.op, layer.label).operands.items():
        name = layer.inputs[number] if number < len(layer.inputs) else ""
        if name in graph.constants:
            axis = axis_for(operand.outputs, layer.attrs) if operand.role == WEIGHT else -1
            dims = graph.constants.spec(name).dims
            if axis is not None and dims and dims[axis] == outputs:
                found[name] = (name, axis % len(dims), operand.role)
    for node in path:
        for part in (node, *node.fused):
            for name in part.inputs:
                dims = graph.constants.spec(name).dims if name in graph.constants and name not in found else ()
                if part.op == "Add" and outputs in dims:
                    found[name] = (name, dims.index(outputs), BIAS)
                elif part.op == "Reshape" and len(dims) == 1 and outputs in graph.constants[name]:
                    found[name] = (name, 0, "shape")
    return list(found.values())


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
