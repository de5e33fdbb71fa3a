"""A network's nodes as instructions: the rule of each op, moves to a variable's packing, references where there is no kernel."""

from __future__ import annotations

from dataclasses import replace

from alula.runtime.graph import Node
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.variables import State
from alula.runtime.memory.weights import WeightStore
from alula.runtime.ops.contract import find
from alula.runtime.ops.epilogue import unfuse, with_output
from alula.runtime.planning.lowering import IN_STORAGE, LOWERING, Lowering
from alula.runtime.planning.specialise import Specialised


def lowered(network: Specialised, store: WeightStore, tiles: Tiles, n_threads: int, state: State) -> Lowering:
    """The instructions of a network, its weights packed and its variables settled."""
    lowering = Lowering(
        network.specs, network.values, network.constants, tiles, n_threads, store.hold, state.variables, state.follows
    )
    for output, variable in state.updates.items():
        lowering.alias(output, variable)
    for node in network.nodes:
        _lower_in_storage(lowering, node)
        for output in node.outputs:
            if output in state.updates:
                lowering.forget(state.updates[output])
    store.settle(n_threads)
    state.settle()
    return lowering


def _lower_in_storage(lowering: Lowering, node: Node) -> None:
    """Emit a node's kernels; what it writes for a variable is moved to the variable's order, unless it does so itself."""
    moved, op = {}, find(node.op, node.label)
    lowering.node = node
    in_storage = IN_STORAGE.find(op)
    if in_storage is not None and in_storage(lowering, node):
        return
    if not op.in_storage:
        for name in node.outputs:
            variable = lowering.variable_of(lowering.root(name)) or lowering.variable_of(name) if name else None
            if variable and variable.packing is None:
                variable.settle()
            if variable and not variable.is_plain:
                moved[name] = variable
    if not moved:
        _lower(lowering, node)
        return
    lowering.specs.update((f"{name}|plain", lowering.spec(name)) for name in moved)
    first, *rest = (f"{name}|plain" if name in moved else name for name in node.outputs)
    made = replace(with_output(node, first), outputs=(first, *rest))
    if node.fused:
        lowering.specs.setdefault(made.body_output, lowering.spec(node.body_output))
    _lower(lowering, made)
    for name, variable in moved.items():
        indices = variable.gather_to_storage()
        assert indices is not None
        lowering.emit_reorder(lowering.ref(f"{name}|plain"), indices, lowering.storage(name)[0])


def _lower(lowering: Lowering, node: Node) -> None:
    """Emit a node's kernels; where there are none for the whole of it, for its parts, or its reference."""
    lowering.node = node
    mark = len(lowering.instructions)
    rule = LOWERING.find(find(node.op, node.label))
    if rule is not None and rule(lowering, node):
        return
    assert len(lowering.instructions) == mark, f"{node.label}: a rule that refuses must not emit"
    if node.fused:
        for part in unfuse(node):
            _lower(lowering, part)
    else:
        lowering.emit_reference(node)
