"""From a network to a training program's graph: forward, loss, backward and updates as nodes of one IR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from alula.runtime.autodiff import Tape
from alula.runtime.errors import GraphError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Arrays, Graph, Node, TensorSpec
from alula.runtime.passes import PASSES
from alula.runtime.passes.affine import fold_affine
from alula.runtime.passes.batch_norm import open_batch_norm
from alula.runtime.passes.draft import Draft
from alula.runtime.passes.fusion import fuse_chains
from alula.runtime.specialise import Specialised, specialise
from alula.runtime.train.losses import Loss
from alula.runtime.train.optimizers import SCALARS, Optimizer

# Op -> the inputs that are parameters when they are float32 constants
PARAMETER_INPUTS = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1), "PRelu": (1,), "Add": (0, 1), "Mul": (0, 1),
    "BatchNormalization": (1, 2), "BatchNormalizationTraining": (1, 2), "LayerNormalization": (1, 2),
    "RMSNormalization": (1,), "InstanceNormalization": (1, 2), "GroupNormalization": (1, 2), "LSTM": (1, 2, 3),
    "GRU": (1, 2, 3), "Gather": (0,),
}  # fmt: skip
LOSS = "loss|"


def trainable_form(graph: Graph, batch_statistics: bool = True) -> Graph:
    """The network as it is trained: every pass but those that melt parameters into one another or hide tensors.

    batch_statistics : batch normalisation normalises with the statistics of the batch, and keeps running ones
    """
    for rewrite in PASSES:
        if rewrite not in (open_batch_norm, fold_affine, fuse_chains):
            graph = rewrite(graph)
    return _with_batch_statistics(graph) if batch_statistics else graph


def _with_batch_statistics(graph: Graph) -> Graph:
    from alula.runtime.ops.contract import find

    draft = Draft(graph)
    for node in draft.nodes("BatchNormalization"):
        output, attrs = node.outputs[0], node.attrs
        extra = tuple(draft.fresh(f"{output}.{part}") for part in ("mean|new", "var|new", "mean|saved", "std|saved"))
        made = find("BatchNormalizationTraining", node.label).make_attrs(
            {"epsilon": attrs.epsilon, "momentum": attrs.momentum}, node.label
        )
        new = Node("BatchNormalizationTraining", node.inputs, (output, *extra), made, node.name)
        draft.exchange([node], [new])
    return draft.graph()


def parameters(graph: Graph) -> dict[str, list[Node]]:
    """The constants that training may change, with the nodes that read them, in the order of the forward pass."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for index in PARAMETER_INPUTS.get(node.op, ()):
            name = node.inputs[index] if index < len(node.inputs) else ""
            if name in graph.constants:
                spec = graph.constants.spec(name)
                if spec.dtype == "float32" and (spec.size > 1 or node.op not in ("Add", "Mul")):
                    found.setdefault(name, []).append(node)
    return found


@frozen
class TrainingNetwork:
    """One training program before it is planned.

    network : fixed shapes; inputs are the data, the loss's targets, scalars, and the variables
    updates : output -> variable that it becomes
    follows : gradient or optimiser's state -> parameter whose storage order it has
    targets : the loss's inputs
    """

    network: Specialised
    updates: dict[str, str]
    follows: dict[str, str]
    targets: dict[str, TensorSpec]
    outputs: tuple[str, ...]


def running_statistics(graph: Graph) -> dict[str, str]:
    """New value -> running mean or variance that it becomes, of every batch normalisation."""
    pairs = {}
    for node in graph.nodes:
        if node.op == "BatchNormalizationTraining":
            pairs.update({node.outputs[1]: node.inputs[3], node.outputs[2]: node.inputs[4]})
    return pairs


def training_network(
    graph: Graph,
    shapes: Mapping[str, TensorSpec],
    trained: Sequence[str],
    variables: Mapping[str, TensorSpec],
    loss: Loss,
    optimizer: Optimizer | None,
) -> TrainingNetwork:
    """The graph of one training step for inputs of fixed shapes.

    graph     : in trainable form
    trained   : the parameters that are updated
    variables : every tensor that a step changes, with those that the optimiser remembers
    optimizer : None to return the gradients of what is trained, behind loss and outputs, and to change nothing
    """
    free = {name: spec for name, spec in variables.items() if name in graph.constants}
    rest = Arrays({name: graph.constants[name] for name in graph.constants if name not in free})
    statistics = {new: old for new, old in running_statistics(graph).items() if old in free}
    forward = replace(graph, inputs={**graph.inputs, **free}, constants=rest, outputs=(*graph.outputs, *statistics))
    fixed = specialise(forward, {**shapes, **free})
    scalars = {name: TensorSpec(()) for name in (SCALARS.lr, SCALARS.step, SCALARS.scale)}
    state = {name: spec for name, spec in variables.items() if name not in free}
    tape = Tape(fixed.nodes, {**fixed.specs, **scalars, **state}, fixed.values)
    value, targets = loss.build(tape, graph.outputs)
    gradients = tape.gradients(value, trained)
    updates, follows = dict(statistics) if optimizer else {}, {}
    results = (value, *graph.outputs, *(gradients[name] for name in trained if not optimizer))
    for name in trained if optimizer else ():
        assert optimizer is not None
        slots = tuple(f"{name}|{slot}" for slot in optimizer.slots)
        made = optimizer.update(tape, name, gradients[name], slots, SCALARS)
        updates.update(zip(made, (name, *slots), strict=True))
        follows.update(dict.fromkeys((gradients[name], *slots), name))
    needed = {name for node in tape.nodes for name in node.reads} | set(graph.outputs)
    constants = Arrays({name: fixed.values[name] for name in needed if name in fixed.values})
    constants.update({name: array for name, array in tape.made.items() if name in needed})
    inputs = {**{n: fixed.specs[n] for n in graph.inputs}, **targets, **free, **state, **scalars}
    whole = Graph(graph.name, inputs, (*results, *updates), tuple(tape.nodes), constants)
    fused = fuse_chains(whole)
    ordered = replace(fused, nodes=schedule(fused.nodes, updates))
    return TrainingNetwork(specialise(ordered, inputs), updates, follows, targets, results)


def schedule(nodes: Sequence[Node], updates: Mapping[str, str]) -> tuple[Node, ...]:
    """Every node that updates a variable as soon as what it reads is there and nobody reads the old value any more.

    So a gradient's memory is free again before the next one is computed.
    """
    variables = set(updates.values())
    readers: dict[str, int] = {}
    waiting = {id(node): node for node in nodes if any(name in updates for name in node.outputs)}
    updaters = set(waiting)
    for node in nodes:
        if id(node) not in updaters:
            for name in set(node.reads) & variables:
                readers[name] = readers.get(name, 0) + 1
    made = {name for node in nodes for name in node.outputs}
    done: set[str] = set()
    ordered: list[Node] = []

    def release() -> None:
        for key, node in list(waiting.items()):
            old = {updates[name] for name in node.outputs if name in updates}
            if all(not readers.get(name) for name in old) and all(n in done or n not in made for n in node.reads):
                ordered.append(node)
                done.update(node.outputs)
                del waiting[key]

    for node in nodes:
        if id(node) in updaters:
            release()
            continue
        if not all(name in done or name not in made for name in node.reads):
            release()
        ordered.append(node)
        done.update(node.outputs)
        for name in set(node.reads) & variables:
            readers[name] -= 1
    release()
    if waiting:
        raise GraphError(f"{next(iter(waiting.values())).label}: expected an order of updates, got a cycle; report it")
    return tuple(ordered)
