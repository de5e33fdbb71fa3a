"""Networks whose shapes depend on data run in segments: each is planned when what decides its shapes has been computed.

A segment is all that can be planned from what is known. Left for the next one is what needs the value of a tensor to be
planned, or what reads such a node's result: a Reshape to a computed shape, what follows a NonMaxSuppression, and the branches of an If
that give tensors of different shapes. One segment is a program; the next one is planned for the values (of a few sizes, say)
and shapes that it gave. Programs are kept by those, so a model whose sizes recur plans each once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np

from alula.runtime.errors import DTypeError, GraphError, ShapeError
from alula.runtime.forks import ForkLock
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, ConstantPool, Graph, Node, TensorSpec
from alula.runtime.ops.contract import find, infer
from alula.runtime.planning.program import Program
from alula.runtime.planning.reference import run_node
from alula.runtime.planning.specialise import Specialised, Walk, bind

MAX_SEGMENTS = 32  # kept per model; the one used longest ago goes first
WHOLE = ("int32", "int64")  # of inputs whose values a program may be planned for


def needs_segments(graph: Graph) -> bool:
    """Whether a run may need more than one program."""
    return data_dependent(graph) is not None


def data_dependent(graph: Graph) -> Node | None:
    """The first node whose shape, or branch, depends on more than shapes, constants and whole numbers among the inputs."""
    sizes = {*graph.constants}  # tensors that follow from shapes and constants
    known = sizes | {name for name, spec in graph.inputs.items() if spec.dtype in WHOLE}
    for node in graph.nodes:
        if node.op == "Branch" and node.inputs[0] not in sizes:
            return node
        static = find(node.op, node.label).static_inputs
        decides = {node.inputs[index] for index in static if index < len(node.inputs)} - {""}
        if decides - known - set(graph.inputs):
            return node
        for names in (sizes, known):
            if node.op in ("Shape", "Size") or (node.reads and all(name in names for name in node.reads)):
                names.update(filter(None, node.outputs))
    return None


@frozen
class Segment:
    """One part of a run.

    program : what can be planned from what is known
    feeds   : the inputs that the program reads
    between : nodes that run as their reference after it
    wanted  : tensors for whose values the rest is planned
    given   : what the rest reads that is known already
    rest    : the other nodes, for inputs of the names that `reads` has; None if there are none
    """

    program: Program
    feeds: tuple[str, ...]
    between: tuple[Node, ...]
    wanted: tuple[str, ...]
    given: dict[str, Array]
    reads: tuple[str, ...]
    rest: Graph | None


class Segments:
    """A network that runs segment by segment.

    plan : makes a program
    """

    def __init__(self, graph: Graph, plan: Callable[[Specialised], Program]) -> None:
        self.graph, self._plan = graph, plan
        self._planning = ForkLock()  # two threads plan one after the other
        self._kept: OrderedDict[object, Segment] = OrderedDict()

    def run(self, inputs: Mapping[str, Array], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
        """The outputs by name.

        specs : of the inputs
        raise : as `specialise`, also in the middle of a run
        """
        graph, values, known, results = self.graph, dict(inputs), dict[str, Array](), dict[str, Array]()
        key = _key(specs)
        while True:
            segment = self.segment(key, graph, specs, known)
            values.update(segment.program.run({name: values[name] for name in segment.feeds}))
            for node in segment.between:
                found = {name: _found(name, values, segment.given, graph.constants) for name in node.reads}
                run_node(node, found)
                values.update((name, np.ascontiguousarray(found[name])) for name in node.outputs if name)
            results.update((name, values[name]) for name in self.graph.outputs if name in values)
            if segment.rest is None:
                return {name: results[name] for name in self.graph.outputs}
            known = {name: value for name, value in segment.given.items() if name in segment.reads}
            known.update((name, values[name]) for name in segment.wanted)
            values = {name: known[name] if name in known else values[name] for name in segment.reads}
            specs = {name: TensorSpec.of(value) for name, value in values.items()}
            sizes = tuple(specs[name].shape for node in segment.between for name in node.outputs if name in specs)
            key, graph = (key, sizes, tuple(known[name].tobytes() for name in segment.wanted)), segment.rest

    def segment(
        self, key: object, graph: Graph, specs: Mapping[str, TensorSpec], known: Mapping[str, Array]
    ) -> Segment:
        """One segment, planned if it is new."""
        with self._planning.lock:
            return self._cached(key, graph, specs, known)

    def only(self, specs: Mapping[str, TensorSpec]) -> Program:
        """The program for inputs of these specs, if it is the whole run.

        raise : GraphError that names the first node which cannot be planned for shapes alone
        """
        segment = self.segment(_key(specs), self.graph, specs, {})
        if rest := (*segment.between, *(segment.rest.nodes if segment.rest else ())):
            raise GraphError(
                f"{rest[0].label}: expected shapes that follow from the inputs' shapes, got some that depend on their values; "
                "run the model with arrays"
            )
        return segment.program

    def _cached(
        self, key: object, graph: Graph, specs: Mapping[str, TensorSpec], known: Mapping[str, Array]
    ) -> Segment:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        segment = self._kept[key] = self._planned(graph, specs, known)
        while len(self._kept) > MAX_SEGMENTS:
            self._kept.popitem(last=False)
        return segment

    def _planned(self, graph: Graph, specs: Mapping[str, TensorSpec], known: Mapping[str, Array]) -> Segment:
        inputs = bind(graph, specs) if graph is self.graph else dict(specs)
        late: set[str] = set()
        while True:
            head = _Head(graph, inputs, {name: value.copy() for name, value in known.items()}, late)
            try:
                return head.segment(self._plan)
            except _Undecided as error:
                late.add(error.flag)


def _key(specs: Mapping[str, TensorSpec]) -> object:
    return tuple((name, spec.shape, spec.dtype) for name, spec in specs.items())


def _found(name: str, *places: Mapping[str, Array] | ConstantPool) -> Array:
    """The value of a tensor in the first place that has it."""
    return next(place[name] for place in places if name in place)


class _Undecided(Exception):
    """A branch cannot be planned before it is known whether it runs: its flag."""

    def __init__(self, flag: str) -> None:
        super().__init__(flag)
        self.flag = flag


class _Head(Walk):
    """What can be planned of a network now. A tensor is late if the node that makes it does not run in this segment's program.

    flags : of branches that wait for their condition

    Its lists: `_left` nodes of the rest; `_between` nodes that run as their reference after the program; `_wanted` tensors for
    whose values the rest is planned.
    """

    def __init__(self, graph: Graph, inputs: dict[str, TensorSpec], folded: dict[str, Array], flags: set[str]) -> None:
        super().__init__(graph, inputs, folded)
        self._flags = flags
        self._branches = {name for node in graph.nodes if node.op == "Branch" for name in node.outputs}
        self._late: set[str] = set()
        self._left: list[Node] = []
        self._between: list[Node] = []
        self._wanted: dict[str, None] = {}

    def exists(self, name: str) -> bool:
        """Late tensors do as well."""
        return name in self._late or super().exists(name)

    def visit(self, node: Node) -> None:
        """Plan a node, or leave it."""
        open_guard = node.guard if node.guard and self.value(node.guard) is None else ""
        if node.guard and not open_guard:  # it runs, or it does not: then it is another one
            super().visit(node)
            return
        if any(name in self._late for name in node.reads):
            self._leave(node)
            return
        missing = self.missing(node)
        if node.op == "Branch" and self._flags & set(node.outputs):
            if open_guard:  # then so does the one around it
                self._leave(node)
            missing = [node.inputs[0]]
        if missing and not open_guard and find(node.op, node.label).data_sized:
            # for its checks alone: how much it gives is not known yet
            infer(node, [self._spec(name) if name else None for name in node.inputs], [None] * len(node.inputs))
            self._between.append(node)
            self._late.update(filter(None, node.outputs))
        elif missing:
            self._leave(node)
            self._wanted.update(dict.fromkeys(missing))
        else:
            try:
                super().visit(node)
            except (ShapeError, DTypeError, GraphError):  # right, perhaps, where the branch is taken
                if open_guard not in self._branches:
                    raise
                self._leave(node)

    def _leave(self, node: Node) -> None:
        if node.guard in self._branches and self.value(node.guard) is None and node.guard not in self._late:
            raise _Undecided(node.guard)
        self._left.append(node)
        self._late.update(filter(None, node.outputs))

    def segment(self, plan: Callable[[Specialised], Program]) -> Segment:
        """The segment; walks the network."""
        whole = self.graph
        for node in whole.nodes:
            self.visit(node)
        left = self._needed()
        reads = {name for node in (*left, *self._between) for name in node.reads} - self._late - set(whole.constants)
        made = {name for node in self._between for name in node.outputs}
        known = {name: self.folded[name] for name in sorted(reads) if name in self.folded}
        computed = tuple(sorted(reads - set(known) - set(self.inputs)))
        now = tuple(name for name in whole.outputs if name not in self._late)
        program = plan(self.finished(tuple(dict.fromkeys((*now, *computed)))))
        wanted = tuple(name for name in self._wanted if name in reads)
        if not left:
            return Segment(program, tuple(self.inputs), tuple(self._between), (), known, (), None)
        needed = {name for node in left for name in node.reads}
        names = tuple(sorted(needed & (reads | made)))
        specs = {name: self.specs.get(name) or TensorSpec(()) for name in names}
        rest = Graph(
            whole.name, specs, tuple(n for n in whole.outputs if n in self._late - made), left, whole.constants
        )
        return Segment(program, tuple(self.inputs), tuple(self._between), wanted, known, names, rest)

    def _needed(self) -> tuple[Node, ...]:
        """The nodes that are left and that an output needs; the others between two segments go."""
        needed, left, between = {*self.graph.outputs}, list[Node](), list[Node]()
        order = {id(node): place for place, node in enumerate(self._left)}
        for node in reversed(self._left):
            if any(name in needed for name in node.outputs):
                left.append(node)
                needed.update(node.reads)
        for node in reversed(self._between):
            if any(name in needed for name in node.outputs):
                between.append(node)
        self._between = between[::-1]
        return tuple(sorted(left, key=lambda node: order[id(node)]))
