"""From a network to a training program's graph: forward, loss, backward and updates as nodes of one IR."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from alula.runtime.errors import GraphError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.ops.contract import find
from alula.runtime.passes.affine import fold_affine
from alula.runtime.passes.batch_norm import open_batch_norm
from alula.runtime.passes.dead_code import drop_dead_code
from alula.runtime.passes.fusion import fuse_epilogues
from alula.runtime.passes.rewrite import Rewrite, renamed
from alula.runtime.planning.autodiff import Tape
from alula.runtime.planning.segments import data_dependent
from alula.runtime.planning.specialise import Specialised, specialise
from alula.runtime.train.losses import Loss, Target
from alula.runtime.train.optimizers import SCALARS, Optimizer
from alula.runtime.train.ordering import by_depth, order_updates, sharing
from alula.runtime.train.recompute import candidates, recomputed


def with_batch_statistics(graph: Graph, outputs: Sequence[str], momentum: float | None = None) -> Graph:
    """The batch normalisations that make these outputs normalise with the batch's statistics, and keep running ones.

    Where several share their running statistics, each starts from the result of the one before it.
    momentum : of the running statistics instead of the network's own; 0 keeps those of the last batch alone
    """
    rewrite = Rewrite(graph, guarded=True)
    newest: dict[str, str] = {}  # running statistic -> what the last node made of it
    for node in rewrite.nodes("BatchNormalization"):
        output, attrs = node.outputs[0], node.attrs
        if output not in outputs:
            continue
        extra = tuple(rewrite.fresh(f"{output}.{part}") for part in ("mean|new", "var|new", "mean|saved", "std|saved"))
        made = find("BatchNormalizationTraining", node.label).make_attrs(
            {"epsilon": attrs.epsilon, "momentum": attrs.momentum if momentum is None else momentum}, node.label
        )
        running = node.inputs[3:5]
        inputs = (*node.inputs[:3], *(newest.get(name, name) for name in running))
        newest.update(zip(running, extra, strict=False))
        new = Node("BatchNormalizationTraining", inputs, (output, *extra), made, node.name)
        if node.guard:  # skipped, it keeps the statistics that it has
            otherwise = (*(node.otherwise or ("",)), *inputs[3:5])
            new = replace(new, guard=node.guard, otherwise=otherwise)
        rewrite.exchange([node], [new])
    return rewrite.graph()


def with_variables(graph: Graph, names: Sequence[str]) -> Graph:
    """The network with some constants as inputs, and what lies between the others folded as for inference."""
    free = {name: graph.constants.spec(name) for name in names}
    rest = Arrays({name: graph.constants[name] for name in graph.constants if name not in free})
    opened = replace(graph, inputs={**graph.inputs, **free}, constants=rest)
    return drop_dead_code(fold_affine(open_batch_norm(opened)))


@frozen
class TrainingNetwork:
    """One training program before it is planned.

    network : fixed shapes; inputs are the data, the loss's targets, scalars, and the variables
    updates : output -> variable that it becomes
    follows : gradient or optimiser's state -> parameter whose storage order it has
    targets : the loss's inputs
    outputs : what a run returns: loss, the network's outputs, then gradients if those were asked for
    norm    : the gradients' norm, one of the network's outputs; "" if it is not computed
    n_candidates : how many ways there are to need less memory, and more work
    """

    network: Specialised
    updates: dict[str, str]
    follows: dict[str, str]
    targets: dict[str, Target]
    outputs: tuple[str, ...]
    norm: str = ""
    n_candidates: int = 1


@frozen
class Recipe:
    """How gradients become new weights.

    clip_norm : maximum norm of all gradients together; 0 for no limit
    averages  : whether an average follows every parameter
    """

    optimizer: Optimizer
    clip_norm: float = 0.0
    averages: bool = False


def slot(parameter: str, name: str) -> str:
    """The variable that remembers something of a parameter."""
    return f"{parameter}|{name}"


AVERAGE, SUM = "average", "sum"


def running_statistics(graph: Graph) -> dict[str, str]:
    """New value -> running mean or variance that it becomes, of the batch normalisations; the last one that shares it."""
    pairs: dict[str, str] = {}
    for node in graph.nodes:
        if node.op == "BatchNormalizationTraining":
            for new, old in zip(node.outputs[1:3], node.inputs[3:5], strict=False):  # a file may leave outputs out
                pairs[new] = pairs.pop(old, old)
    return pairs


def training_network(
    graph: Graph,
    shapes: Mapping[str, TensorSpec],
    trained: Sequence[str],
    variables: Mapping[str, TensorSpec],
    loss: Loss,
    then: Recipe | str,
    frugality: int = 0,
) -> TrainingNetwork:
    """The graph of one training step for inputs of fixed shapes.

    graph     : with what is trained, and the running statistics that change, as inputs
    trained   : the parameters that are updated
    variables : every tensor that a step may change, with those that the optimiser remembers
    then      : what is done with the gradients: a recipe updates the weights, "sum" adds them to those of earlier
                batches, "return" returns them after loss and outputs and changes nothing
    frugality : which plan of `recompute.candidates` is followed: 0 keeps every activation
    """
    if node := data_dependent(graph):
        raise GraphError(
            f"{node.label}: expected shapes and branches that follow from the inputs' shapes, got one that depends on data; "
            "train the network without it"
        )
    free = {name: spec for name, spec in variables.items() if name in graph.inputs}
    data = {name: spec for name, spec in shapes.items() if name not in free}
    statistics = {new: old for new, old in running_statistics(graph).items() if old in free and then != "return"}
    forward = replace(graph, outputs=tuple(dict.fromkeys((*graph.outputs, *statistics))))
    fixed = specialise(forward, {**data, **free})
    state = {name: spec for name, spec in variables.items() if name not in free}
    tape = Tape((), {**fixed.specs, **_scalars(), **state}, fixed.values)
    tape.nodes += _apart(tape, by_depth(fixed.nodes), statistics.values())
    value, targets = loss.build(tape, graph.outputs)
    n_forward = len(tape.nodes)
    gradients = tape.gradients(value, trained)
    if not isinstance(then, Recipe) or then.clip_norm:
        gradients = {name: tape.always(gradient) for name, gradient in gradients.items()}
    _own_memory(tape, gradients)
    shared = sharing(tape.nodes, free)
    outputs = tuple(_copied(tape, name) if name in shared else name for name in graph.outputs)
    updates, follows, norm = dict(statistics), dict(zip(gradients.values(), gradients, strict=True)), ""
    if isinstance(then, Recipe):
        norm = _append_updates(tape, then, gradients, updates, follows)
    elif then == SUM:
        for name, gradient in gradients.items():
            total = slot(name, SUM)
            made = tape.node("AccumulateUpdate", [total, gradient, SCALARS.keep], name=f"{name}|summed")
            updates[made], follows[total] = total, name
    choices = candidates(tape, n_forward)
    if frugality:
        tape.nodes = recomputed(tape, n_forward, choices[min(frugality, len(choices) - 1)])
    results = (value, *outputs, *(gradients.values() if then == "return" else ()))
    if then == "return":
        follows = {}
    inputs = {**{n: fixed.specs[n] for n in data}, **{name: target.spec for name, target in targets.items()}, **free}
    network = _closed(graph.name, tape, fixed.values, {**inputs, **state, **_scalars()}, (*results, norm), updates)
    return TrainingNetwork(network, updates, follows, targets, results, norm, len(choices))


def _apart(tape: Tape, nodes: Sequence[Node], statistics: Iterable[str]) -> list[Node]:
    """The nodes, those that read running statistics for themselves from a copy: the statistics move in the forward pass."""
    read = {name for node in nodes if node.op != "BatchNormalizationTraining" for name in node.reads}
    copies = {name: _copied(tape, name) for name in statistics if name in read}
    return [
        node if node.op == "BatchNormalizationTraining" else renamed(node, lambda name: copies.get(name, name))
        for node in nodes
    ]


def _own_memory(tape: Tape, gradients: dict[str, str]) -> None:
    """Give each gradient memory of its own, which takes the order of its parameter's: nothing else reads that."""
    read = {name for node in tape.nodes for name in node.reads}
    for parameter, gradient in gradients.items():
        if gradient in read or gradient in tape.made:
            with tape.under(tape.guard_of(gradient)):
                gradients[parameter] = _copied(tape, gradient)
            gradient = gradients[parameter]
        read.add(gradient)


def _copied(tape: Tape, name: str) -> str:
    """A float32 tensor in memory of its own: Identity would be a view."""
    return str(tape.node("Mul", [name, tape.constant(1.0)], name=f"{name}|copy"))


def update_network(
    name: str, trained: Sequence[str], variables: Mapping[str, TensorSpec], recipe: Recipe
) -> TrainingNetwork:
    """The graph that updates the weights with gradients that were summed before."""
    inputs = {**variables, **_scalars()}
    tape = Tape((), inputs, {})
    updates: dict[str, str] = {}
    follows = {slot(parameter, SUM): parameter for parameter in trained}
    norm = _append_updates(tape, recipe, {parameter: slot(parameter, SUM) for parameter in trained}, updates, follows)
    return TrainingNetwork(
        _closed(f"{name}|update", tape, {}, inputs, (norm,), updates), updates, follows, {}, (), norm
    )


def _scalars() -> dict[str, TensorSpec]:
    return dict.fromkeys((SCALARS.lr, SCALARS.step, SCALARS.scale, SCALARS.rate, SCALARS.keep), TensorSpec(()))


def _append_updates(
    tape: Tape, recipe: Recipe, gradients: Mapping[str, str], updates: dict[str, str], follows: dict[str, str]
) -> str:
    """Append clipping, the optimiser's steps and the averages; the name of the gradients' norm, "" without clipping."""
    scalars, norm = SCALARS, ""
    if recipe.clip_norm:
        norm, factor = _clipped(tape, list(gradients.values()), recipe.clip_norm)
        scalars = replace(SCALARS, scale=factor)
    for name, gradient in gradients.items():
        slots = tuple(slot(name, part) for part in recipe.optimizer.slots)
        guard = tape.guard_of(gradient)
        with tape.under(guard):
            made = recipe.optimizer.update(tape, name, gradient, slots, scalars)
        if guard:  # skipped, a layer does not learn
            for updated, old in zip(made, (name, *slots), strict=True):
                tape.otherwise(updated, old, guard)
        updates.update(zip(made, (name, *slots), strict=True))
        follows.update(dict.fromkeys(slots, name))
        if recipe.averages:
            mean = slot(name, AVERAGE)
            averaged = tape.node("AverageUpdate", [mean, made[0], SCALARS.rate], name=f"{name}|averaged")
            updates[averaged], follows[mean] = mean, name
    return norm


def _clipped(tape: Tape, gradients: list[str], limit: float) -> tuple[str, str]:
    """Norm of all gradients together, and the factor that brings it to the limit; torch.nn.utils.clip_grad_norm_'s."""
    length = tape.node("Sqrt", [tape.node("SquaredNorm", gradients, name="gradients|squared")])
    norm = tape.node("Mul", [length, SCALARS.scale], name="gradients|norm")
    share = tape.node("Div", [tape.constant(limit), tape.node("Add", [norm, tape.constant(1e-6)])])
    kept = tape.node("Min", [share, tape.constant(1.0)])
    return norm, tape.node("Mul", [kept, SCALARS.scale], name="gradients|factor")


def _closed(
    name: str,
    tape: Tape,
    values: Mapping[str, Array],
    inputs: dict[str, TensorSpec],
    results: Sequence[str],
    updates: Mapping[str, str],
) -> Specialised:
    """The tape as a graph: only the constants that it reads, epilogues fused, updates as early as possible."""
    outputs = tuple(dict.fromkeys(result for result in (*results, *updates) if result))
    needed = {read for node in tape.nodes for read in node.reads} | set(outputs)
    constants = Arrays({key: values[key] for key in needed if key in values})
    constants.update({key: array for key, array in tape.made.items() if key in needed})
    fused = fuse_epilogues(Graph(name, inputs, outputs, tuple(tape.nodes), constants))
    return specialise(replace(fused, nodes=order_updates(fused.nodes, updates)), inputs)
