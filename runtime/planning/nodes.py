"""A network's nodes as instructions: the rule of each op, moves to a variable's packing, references where there is no kernel."""

from __future__ import annotations

from dataclasses import replace

from alula.runtime.graph import Node
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.variables import State
from alula.runtime.memory.weights import WeightStore
from alula.runtime.ops.contract import find
from alula.runtime.ops.epilogue import unfuse, with_output
from alula.runtime.ops.movement.lower import emit_copy
from alula.runtime.planning.lowering import IN_STORAGE, LOWERING, Guard, Lowering
from alula.runtime.planning.specialise import Specialised


def lowered(network: Specialised, store: WeightStore, tiles: Tiles, n_threads: int, state: State) -> Lowering:
    """The instructions of a network, its weights packed and its variables settled."""
    lowering = Lowering(
        network.specs, network.values, network.constants, tiles, n_threads, store.hold, state.variables, state.follows
    )
    for output, variable in state.updates.items():
        lowering.alias(output, variable)
    for node in network.nodes:
        _lower_guarded(lowering, node)
        for output in node.outputs:
            if output in state.updates:
                lowering.forget(state.updates[output])
    store.make(n_threads)
    state.settle()
    return lowering


def _lower_guarded(lowering: Lowering, node: Node) -> None:
    """Emit a node's kernels under its guard, and copies of what its outputs are otherwise under the opposite one."""
    lowering.node, lowering.guard = node, None
    if not node.guard:
        _lower_in_storage(lowering, node)
        return
    runs = lowering.guard = Guard(lowering.ref(node.guard))
    kept = [(name, other) for name, other in zip(node.outputs, node.otherwise, strict=False) if name and other]
    kept = [(name, other) for name, other in kept if lowering.root(name) != lowering.root(other)]
    if kept and find(node.op, node.label).is_view:  # of memory that others may still read
        name = f"{node.outputs[0]}|view"
        lowering.specs[name] = lowering.spec(node.outputs[0])
        _lower_in_storage(lowering, with_output(node, name))
        emit_move(lowering, name, node.outputs[0])
    else:
        _lower_in_storage(lowering, node)
    lowering.node, lowering.guard = node, replace(runs, when=False)
    for name, other in kept:
        emit_move(lowering, other, name)
    lowering.guard = None


def emit_move(lowering: Lowering, source: str, target: str) -> None:
    """Copy a tensor to another one of the same spec."""
    y, size = lowering.storage(target)
    variable, spec = lowering.variable_of(target), lowering.spec(target)
    if variable is None or variable.is_plain:
        emit_copy(lowering, lowering.ref(source), y, (spec.size,), (1,), (1,), spec.itemsize)
        return
    if lowering.variable_of(source) is variable:
        emit_copy(lowering, lowering.storage(source)[0], y, (size,), (1,), (1,), spec.itemsize)
        return
    indices = variable.gather_to_storage()
    assert indices is not None
    lowering.emit_reorder(lowering.ref(source), indices, y)


def _lower_in_storage(lowering: Lowering, node: Node) -> None:
    """Emit a node's kernels; what it writes for a variable is moved to the variable's order, unless it does so itself."""
    lowering.node, op = node, find(node.op, node.label)
    owners = {
        name: owner for name in node.outputs
        if name and (owner := lowering.variable_of(lowering.root(name)) or lowering.variable_of(name))
    }  # fmt: skip
    in_storage = IN_STORAGE.find(op) if owners else None
    if in_storage is not None and in_storage(lowering, node):
        return
    for variable in owners.values() if not op.in_storage else ():
        if variable.packing is None:
            variable.settle()
    moved = {name: variable for name, variable in owners.items() if not (op.in_storage or variable.is_plain)}
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
