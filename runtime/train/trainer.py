"""The trainer: variables, one planned program for each batch shape, and a step."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from alula.runtime.compiler.loader import library
from alula.runtime.errors import GraphError, MemoryBudgetError, ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, ConstantPool, Graph, TensorSpec
from alula.runtime.kernels.tiles import for_cpu
from alula.runtime.memory.aligned import checked_array, native, trim_heap
from alula.runtime.memory.arena import Arena
from alula.runtime.memory.variables import State, Variables
from alula.runtime.memory.weights import WeightStore
from alula.runtime.model import Model
from alula.runtime.passes.fusion import fuse_epilogues
from alula.runtime.passes.halves import float32_ends
from alula.runtime.passes.trainable import trainable_form
from alula.runtime.planning.program import Program
from alula.runtime.planning.specialise import specialise
from alula.runtime.threads import checked_threads, team
from alula.runtime.train.averaging import Averaging, batch_norm_statistics
from alula.runtime.train.channel_slices import split_weights
from alula.runtime.train.losses import CrossEntropy, Loss
from alula.runtime.train.network import (
    AVERAGE,
    SUM,
    Recipe,
    TrainingNetwork,
    running_statistics,
    slot,
    training_network,
    update_network,
    with_batch_statistics,
    with_variables,
)
from alula.runtime.train.optimizers import SCALARS, SGD, Optimizer
from alula.runtime.train.parameters import buffers, parameters
from alula.runtime.train.schedules import Schedule
from alula.runtime.train.selection import select

COUNTERS = "counters|"  # in a state: updates done, batches summed for the next one


@frozen
class Step:
    """What one step gave.

    loss          : before the update
    outputs       : of the network
    lr            : learning rate of the update, or of the next one if the batch was only summed
    updated       : whether the weights changed
    gradient_norm : of all gradients together before clipping; None without clipping or update
    """

    loss: float
    outputs: tuple[Array, ...]
    lr: float
    updated: bool
    gradient_norm: float | None = None


class Trainer:
    """Trains a network in place. `roles` says of each constant what becomes of it: trained, in part, frozen, or buffer.

    graph            : the network; batch normalisations learn if they are still there
    optimizer        : an optimiser of `optimizers.py`
    loss             : a loss of `losses.py`
    update           : which parameters are updated; see `selection.select`
    threads          : how many threads run a step; all cores if None
    max_bytes        : memory that a step may use; activations are recomputed instead of kept until it fits
    schedule         : the learning rate of each update; None: the optimiser's throughout
    clip_norm        : maximum norm of all gradients together; 0 for no limit
    accumulate       : batches whose gradients are averaged for one update
    averaging        : an average of the weights that is kept beside them; see `averaging.py`
    batch_statistics : whether batch normalisations use the batch's statistics and keep running ones; None: those whose
                       scale is trained do, and the others are frozen and folded
    """

    def __init__(
        self,
        graph: Graph,
        optimizer: Optimizer | None = None,
        loss: Loss | None = None,
        update: str | Sequence[str] = "all",
        *,
        threads: int | None = None,
        max_bytes: int | None = None,
        schedule: Schedule | None = None,
        clip_norm: float = 0.0,
        accumulate: int = 1,
        averaging: Averaging | None = None,
        batch_statistics: bool | None = None,
    ) -> None:
        if not 0 <= clip_norm < np.inf or not isinstance(accumulate, int) or accumulate < 1:
            raise GraphError(
                f"trainer: expected clip_norm >= 0 and a whole accumulate >= 1, got {clip_norm} and {accumulate}; correct them"
            )
        self.graph = trainable_form(float32_ends(graph))
        self.optimizer: Optimizer = optimizer or SGD()
        self.loss: Loss = loss or CrossEntropy()
        self.schedule, self.averaging, self.accumulate = schedule, averaging, accumulate
        known, others = parameters(self.graph), buffers(self.graph)
        chosen = select(self.graph, known, update, others)
        for name in chosen:
            if name in others and not np.isfinite(self.graph.constants[name]).all():
                raise GraphError(
                    f"update: expected finite numbers to train, got infinite ones in {name}; leave the mask out"
                )
        split, self._parts = split_weights(self.graph, chosen, {**known, **others})
        names = {part.weight: part.name for part in self._parts}
        self.trained = tuple(names.get(name, name) for name in chosen)
        left = {**dict.fromkeys(known, "frozen"), **dict.fromkeys(others, "buffer")}
        self.roles = {
            name: left[name] if name not in chosen else "in part" if name in names else "trained" for name in left
        }
        self.lr = self.optimizer.lr
        self.steps = self.summed = 0
        self.threads = checked_threads(threads)
        self.max_bytes = max_bytes
        self._recipe = Recipe(self.optimizer, clip_norm, averaging is not None)
        self.learning = [
            node.outputs[0] for node in self.graph.nodes
            if node.op == "BatchNormalization"
            and (node.inputs[1] in chosen if batch_statistics is None else batch_statistics)
        ]  # fmt: skip
        self._split = split
        whole = with_batch_statistics(split, self.learning)
        statistics = tuple(dict.fromkeys(running_statistics(whole).values()))
        if lost := [name for name in statistics if name not in whole.constants]:
            raise GraphError(
                f"{lost[0]}: expected the running statistics of a batch normalisation to be constants, got a computed one; "
                "pass batch_statistics=False"
            )
        if both := [name for name in statistics if name in chosen]:
            raise GraphError(
                f"{both[0]}: expected a parameter or a running statistic of a batch normalisation, got one tensor that is both; "
                "give the model a tensor for each, or pass batch_statistics=False"
            )
        self._statistics = statistics
        self._forward = with_variables(whole, (*self.trained, *statistics))
        self._variables, self._follows = self._declare(whole.constants, statistics)
        self._store, self._arena = WeightStore(), Arena()
        self._programs: dict[object, tuple[TrainingNetwork, Program]] = {}

    def step(self, *arrays: Array) -> Step:
        """One batch: inputs of the network in order, then the loss's targets. The weights change if it completes an update.

        raise : ShapeError, DTypeError, GraphError: one line that names the input
        """
        lr = self.schedule.lr(self.steps, self.lr) if self.schedule else self.lr
        whole = self.accumulate == 1
        plan, results = self._run(arrays, self._recipe if whole else SUM, lr)
        loss, outputs = float(results[plan.outputs[0]]), tuple(results[name] for name in plan.outputs[1:])
        self.summed += 1
        if self.summed < self.accumulate:
            return Step(loss, outputs, lr, False)
        if not whole:
            plan, program = self._update()
            results = program.run(self._scalars(lr))
        self.steps, self.summed = self.steps + 1, 0
        return Step(loss, outputs, lr, True, float(results[plan.norm]) if plan.norm else None)

    def infer(self, *arrays: Array) -> Array | tuple[Array, ...]:
        """The answers of the network with the weights as they are now; batch normalisations use their running statistics.

        The program reads the variables where they lie, and shares the memory of a step. `model()` is a copy of its own.

        arrays : inputs of the network, in order
        return : the output, or a tuple of them if there are several
        raise  : ShapeError, DTypeError, GraphError: one line that names the input
        """
        if len(arrays) != len(self.graph.inputs):
            names = ", ".join(self.graph.inputs)
            raise GraphError(
                f"infer: expected the inputs {names}, got {len(arrays)} arrays; pass each once, and no targets"
            )
        specs = self._specs(arrays)
        program = self._inference(specs)
        given = {name: native(array).reshape(array.shape) for name, array in zip(specs, arrays, strict=True)}
        results = program.run(given)
        values = tuple(results[name] for name in self.graph.outputs)
        return values[0] if len(values) == 1 else values

    def _inference(self, specs: Mapping[str, TensorSpec]) -> Program:
        """The program of the forward pass alone, for inputs of these specs."""
        key = ("infer", *((name, spec.shape, spec.dtype) for name, spec in specs.items()))
        if key not in self._programs:
            graph = fuse_epilogues(with_variables(self._split, (*self.trained, *self._statistics)))
            free = {name: variable.spec for name, variable in self._variables.items() if name in graph.inputs}
            network = specialise(graph, {**specs, **free})
            plan = TrainingNetwork(network, {}, {}, {}, graph.outputs)
            self._programs[key] = plan, self._program(plan)
            trim_heap()
        return self._programs[key][1]

    def gradients(self, *arrays: Array) -> dict[str, Array]:
        """The gradient of the loss with respect to each parameter that is trained; nothing changes. Arguments as of `step`."""
        plan, results = self._run(arrays, "return", self.lr)
        gradients = plan.outputs[1 + len(self._forward.outputs) :]
        return {name: results[gradient] for name, gradient in zip(self.trained, gradients, strict=True)}

    def program(self, *arrays: Array) -> Program:
        """The program of a step for inputs such as these."""
        return self._plan(self._specs(arrays), self._recipe if self.accumulate == 1 else SUM)[1]

    def prepared(self, *arrays: Array) -> tuple[Program, dict[str, Array]]:
        """The program of a step and all that it is fed, to profile it; arguments as of `step`."""
        plan, program = self._plan(self._specs(arrays), self._recipe if self.accumulate == 1 else SUM)
        return program, self._inputs(plan, arrays, self.lr)

    def values(self) -> dict[str, Array]:
        """Every variable in canonical order, by name: parameters, running statistics, what is remembered of them."""
        return {name: variable.value() for name, variable in self._variables.items()}

    def state(self) -> dict[str, Array]:
        """Everything that a run needs to resume later: the variables, and the progress of the run."""
        return {**self.values(), COUNTERS: np.array([self.steps, self.summed], np.int64)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Resume from a state. Nothing changes if it does not fit.

        raise : GraphError if it is another network's, or of other options
        """
        wanted = {name: variable.spec for name, variable in self._variables.items()}
        wanted[COUNTERS] = TensorSpec((2,), "int64")
        for name, spec in wanted.items():
            got = TensorSpec.of(state[name]) if name in state else "nothing"
            if got != spec:
                raise GraphError(
                    f"state: expected {name} to be {spec}, got {got}; it is of another network or of other options"
                )
        if extra := sorted(set(state) - set(wanted)):
            raise GraphError(f"state: expected no {extra[0]}, got one; it is of another network or of other options")
        for name, variable in self._variables.items():
            variable.assign(state[name])
        self.steps, self.summed = map(int, state[COUNTERS])

    def trained_graph(self) -> Graph:
        """The network with what was learned so far; batch normalisations are still there."""
        return self._with({})

    def averaged_graph(self, batches: Iterable[Sequence[Array]] = ()) -> Graph:
        """The network with the averages of the weights.

        batches : inputs of the network, from which the statistics of batch normalisations are recomputed, as SWA needs;
                  none: the running ones
        raise   : GraphError if no average is kept
        """
        if self.averaging is None:
            raise GraphError("trainer: expected an average of the weights, got none; pass averaging=EMA() or SWA()")
        graph = self._with({name: slot(name, AVERAGE) for name in self.trained})
        given = list(batches)
        return graph.with_nodes(graph.nodes, batch_norm_statistics(graph, given, self.threads)) if given else graph

    def model(self) -> Model:
        """A model of what was learned so far, for inference."""
        from alula.runtime.passes import optimise

        return Model(optimise(self.trained_graph()), self.threads)

    def _with(self, sources: Mapping[str, str]) -> Graph:
        """The network with the values of variables; `sources` names those that are not the constants' own."""
        names = [name for name in self._variables if name in self.graph.constants]
        learned = {name: self._variables[sources.get(name, name)].value() for name in names}
        for part in self._parts:
            value = self._variables[sources.get(part.name, part.name)].value()
            learned[part.weight] = part.merged(self.graph.constants[part.weight], value)
        return self.graph.with_nodes(self.graph.nodes, learned)

    def _declare(self, constants: ConstantPool, statistics: Sequence[str]) -> tuple[Variables, dict[str, str]]:
        """The variables with their first values, and which parameter's order each of the others has."""
        variables, follows = Variables(), {}
        variables.declare({name: constants[name] for name in (*self.trained, *statistics)})
        slots = [*self.optimizer.slots, *([SUM] if self.accumulate > 1 else [])]
        for name in self.trained:
            follows.update({slot(name, part): name for part in slots})
            if self.averaging is not None:
                follows[slot(name, AVERAGE)] = name
        variables.declare({key: np.zeros(constants.spec(name).dims, np.float32) for key, name in follows.items()})
        if self.averaging is not None:
            for name in self.trained:
                variables[slot(name, AVERAGE)].assign(constants[name])
        return variables, follows

    def _run(self, arrays: Sequence[Array], then: Recipe | str, lr: float) -> tuple[TrainingNetwork, dict[str, Array]]:
        plan, program = self._plan(self._specs(arrays), then)
        return plan, program.run(self._inputs(plan, arrays, lr))

    def _specs(self, arrays: Sequence[Array]) -> dict[str, TensorSpec]:
        specs = {}
        for name, array in zip(self.graph.inputs, arrays, strict=False):
            if 0 in checked_array(name, array).shape:
                raise ShapeError(f"input {name}: expected a batch of 1 or more, got shape {array.shape}; leave it out")
            specs[name] = TensorSpec.of(array)
        return specs

    def _inputs(self, plan: TrainingNetwork, arrays: Sequence[Array], lr: float) -> dict[str, Array]:
        names = list(self.graph.inputs)
        inputs = {name: native(array) for name, array in zip(names, arrays, strict=False)}
        given = self.loss.targets(arrays[: len(names)], arrays[len(names) :])
        if len(given) != len(plan.targets):
            raise GraphError(
                f"step: expected {len(names)} inputs and {len(plan.targets)} targets, got {len(arrays)} arrays"
            )
        for (name, target), array in zip(plan.targets.items(), given, strict=True):
            inputs[name] = target.checked(array)
        return {**inputs, **self._scalars(lr)}

    def _scalars(self, lr: float) -> dict[str, Array]:
        rate = self.averaging.rate(self.steps) if self.averaging else 0.0
        return SCALARS.values(
            lr=lr, step=self.steps + 1, scale=1 / self.accumulate, rate=rate, keep=float(self.summed > 0)
        )  # fmt: skip

    def _plan(self, specs: Mapping[str, TensorSpec], then: Recipe | str) -> tuple[TrainingNetwork, Program]:
        """The program for a batch of these specs, planned if it is new: the fastest one that fits into the memory.

        raise : MemoryBudgetError that says the smallest budget that works
        """
        key = then, tuple((name, spec.shape, spec.dtype) for name, spec in specs.items())
        if key in self._programs:
            return self._programs[key]

        def planned(frugality: int) -> tuple[TrainingNetwork, Program]:
            plan = training_network(self._forward, specs, self.trained, specs_of, self.loss, then, frugality)
            gc.collect()  # garbage of differentiation, or of a plan that did not fit, must not add to the memory
            return plan, self._program(plan)

        specs_of = {name: variable.spec for name, variable in self._variables.items()}
        found = planned(1)
        if self.max_bytes is not None and found[1].memory.total > self.max_bytes:
            found = self._within(self.max_bytes, planned, found[0].n_candidates)
        self._programs[key] = found
        trim_heap()
        return found

    def _within(
        self, max_bytes: int, planned: Callable[[int], tuple[TrainingNetwork, Program]], count: int
    ) -> tuple[TrainingNetwork, Program]:
        """The first plan that fits: by doubling steps, then by halving them; every plan if none of those fits."""
        last, step = 1, 2
        while step < count and planned(step)[1].memory.total > max_bytes:
            last, step = step, 2 * step
        if step < count:
            while step - last > 1:
                middle = (last + step) // 2
                last, step = (last, middle) if planned(middle)[1].memory.total <= max_bytes else (middle, step)
            return planned(step)
        least = min((planned(number) for number in range(count)), key=lambda pair: pair[1].memory.total)
        if least[1].memory.total > max_bytes:
            raise MemoryBudgetError(
                f"trainer: expected a step within {max_bytes:,} bytes, got {least[1].memory.total:,} at the least; "
                "raise the budget to that, make the batch smaller or train less of the network"
            )
        return least

    def _update(self) -> tuple[TrainingNetwork, Program]:
        """The program that updates the weights with the summed gradients."""
        if "update" not in self._programs:
            specs_of = {name: variable.spec for name, variable in self._variables.items()}
            plan = update_network(self.graph.name, self.trained, specs_of, self._recipe)
            self._programs["update"] = plan, self._program(plan)
        return self._programs["update"]

    def _program(self, plan: TrainingNetwork) -> Program:
        state = State(self._variables, plan.updates, {**self._follows, **plan.follows})
        return Program(plan.network, self._store, self._arena, for_cpu(library().cpu), team(self.threads), state=state)
