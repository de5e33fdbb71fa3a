"""The trainer: variables, one planned program for each batch shape, and a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alula.runtime.compiler.loader import library
from alula.runtime.errors import DTypeError, GraphError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph, TensorSpec
from alula.runtime.kernels.tiles import for_cpu
from alula.runtime.model import Model
from alula.runtime.program import Program
from alula.runtime.threads import cores, team
from alula.runtime.train.losses import CrossEntropy, Loss
from alula.runtime.train.network import (
    TrainingNetwork,
    parameters,
    running_statistics,
    trainable_form,
    training_network,
)
from alula.runtime.train.optimizers import SCALARS, SGD, Optimizer
from alula.runtime.variables import State, Variables
from alula.runtime.weights import Arena, WeightStore


@frozen
class Step:
    """What one step gave: the loss before the update, and the network's outputs."""

    loss: float
    outputs: tuple[Array, ...]


class Trainer:
    """Trains a network in place.

    graph     : the network; batch normalisations learn if they are still there
    optimizer : an optimiser of `train/optimizers.py`
    loss      : a loss of `train/losses.py`
    update    : names of the parameters that are updated; None for all
    threads   : how many threads run a step; all cores if None
    """

    def __init__(
        self,
        graph: Graph,
        optimizer: Optimizer | None = None,
        loss: Loss | None = None,
        update: Sequence[str] | None = None,
        threads: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.graph = trainable_form(graph)
        self.optimizer: Optimizer = optimizer or SGD()
        self.loss: Loss = loss or CrossEntropy()
        known = parameters(self.graph)
        self.trained = tuple(known) if update is None else tuple(update)
        for name in self.trained:
            if name not in known:
                raise GraphError(
                    f"update: expected parameters of {graph.name}, got {name!r}; choose among {list(known)}"
                )
        self.lr = self.optimizer.lr
        self.steps = 0
        self.threads = cores() if threads is None else threads
        self.max_bytes = max_bytes
        self._variables = Variables()
        constants = self.graph.constants
        self._variables.declare({name: constants[name] for name in self.trained})
        self._variables.declare({old: constants[old] for old in running_statistics(self.graph).values()})
        for name in self.trained:
            for slot in self.optimizer.slots:
                self._variables.declare({f"{name}|{slot}": np.zeros(constants.spec(name).dims, np.float32)})
        self._store, self._arena = WeightStore(), Arena()
        self._programs: dict[object, tuple[TrainingNetwork, Program]] = {}

    def step(self, *arrays: Array) -> Step:
        """One update: inputs of the network in order, then the loss's targets.

        raise : ShapeError, DTypeError, GraphError: one line that names the input
        """
        results = self._run(arrays, self.optimizer, self.steps + 1)
        self.steps += 1
        return Step(float(results[0]), tuple(results[1:]))

    def gradients(self, *arrays: Array) -> dict[str, Array]:
        """The gradient of the loss with respect to each parameter that is trained; nothing changes. Arguments as of `step`."""
        results = self._run(arrays, None, self.steps + 1)
        return dict(zip(self.trained, results[1 + len(self.graph.outputs) :], strict=True))

    def _run(self, arrays: Sequence[Array], optimizer: Optimizer | None, step: int) -> list[Array]:
        names = list(self.graph.inputs)
        inputs = {name: np.ascontiguousarray(array) for name, array in zip(names, arrays, strict=False)}
        specs = {name: TensorSpec.of(array) for name, array in inputs.items()}
        plan, program = self.plan(specs, optimizer)
        given = arrays[len(names) :]
        if len(given) != len(plan.targets):
            raise GraphError(
                f"step: expected {len(names)} inputs and {len(plan.targets)} targets, got {len(arrays)} arrays"
            )
        for (name, spec), array in zip(plan.targets.items(), given, strict=True):
            inputs[name] = _checked_target(spec, array)
        results = program.run({**inputs, **SCALARS.values(self.lr, step, 1.0)})
        return [results[name] for name in plan.outputs]

    def program(self, *arrays: Array) -> Program:
        """The program of a step for inputs such as these."""
        specs = {name: TensorSpec.of(array) for name, array in zip(self.graph.inputs, arrays, strict=True)}
        return self.plan(specs, self.optimizer)[1]

    def plan(self, specs: Mapping[str, TensorSpec], optimizer: Optimizer | None) -> tuple[TrainingNetwork, Program]:
        """The program for a batch of these specs, planned if it is new; without an optimizer, that of the gradients."""
        key = optimizer is None, tuple((name, spec.shape, spec.dtype) for name, spec in specs.items())
        if key not in self._programs:
            plan = training_network(
                self.graph, specs, self.trained, {name: v.spec for name, v in self._variables.items()}, self.loss,
                optimizer,
            )  # fmt: skip
            state = State(self._variables, plan.updates, plan.follows)
            program = Program(
                plan.network,
                self._store,
                self._arena,
                for_cpu(library().cpu),
                team(self.threads),
                self.max_bytes,
                state,
            )
            self._programs[key] = plan, program
        return self._programs[key]

    def values(self) -> dict[str, Array]:
        """Every variable in canonical order, by name: parameters, running statistics, the optimiser's state."""
        return {name: variable.value() for name, variable in self._variables.items()}

    def trained_graph(self) -> Graph:
        """The network with what was learned, in inference form."""
        learned = {name: v.value() for name, v in self._variables.items() if name in self.graph.constants}
        return learned_graph(self.graph, learned)

    def model(self) -> Model:
        """A model of what was learned so far, for inference."""
        from alula.runtime.passes import optimise

        return Model(optimise(self.trained_graph()), self.threads)


def learned_graph(graph: Graph, learned: Mapping[str, Array]) -> Graph:
    """A graph in trainable form with other constants, its batch normalisations back in inference form."""
    from alula.runtime.ops.contract import find
    from alula.runtime.passes.draft import Draft

    draft = Draft(graph.with_nodes(graph.nodes, learned))
    for node in draft.nodes("BatchNormalizationTraining"):
        attrs = find("BatchNormalization", node.label).make_attrs(
            {"epsilon": node.attrs.epsilon, "momentum": node.attrs.momentum}, node.label
        )
        draft.exchange([node], [type(node)("BatchNormalization", node.inputs, node.outputs[:1], attrs, node.name)])
    return draft.graph()


def _checked_target(spec: TensorSpec, array: Array) -> Array:
    array = np.ascontiguousarray(array)
    if array.shape != spec.dims:
        raise ShapeError(f"target: expected {spec}, got shape {array.shape}; pass one per sample")
    if array.dtype.name != spec.dtype:
        if spec.dtype == "int64" and array.dtype.kind in "iu":
            return array.astype(np.int64)
        raise DTypeError(f"target: expected {spec}, got {array.dtype}; convert it")
    return array
