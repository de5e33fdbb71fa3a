"""A program in parts: up to an instruction or for a time, the same bits, while others run in between."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import GraphError, ShapeError
from alula.runtime.graph import Graph, TensorSpec
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.passes.guards import with_guard
from alula.runtime.train import MSE, SGD, Trainer
from tests.runtime.planning.test_guards import OFF, ON, data, node, residual


@pytest.mark.parametrize("threads", [1, 2])
def test_parts_give_the_same_bits_while_the_model_runs_in_between(threads: int) -> None:
    model = Model(optimise(residual()), threads=threads)
    (x, _), (other, _) = data(0), data(1)
    wanted, between = model(x), model(other)
    for size in (1, 3, 100):
        parts, rounds = model.parts({"x": x}), 0
        while not parts.go_on(instructions=size):
            np.testing.assert_array_equal(model(other), between)
            rounds += 1
        assert rounds == -(-parts.length // size) - 1
        np.testing.assert_array_equal(parts.results()["z"], wanted)


def test_two_runs_in_parts_take_turns() -> None:
    model = Model(residual())
    inputs = [data(seed)[0] for seed in range(3)]
    runs = [model.parts({"x": x}) for x in inputs]
    while not all(run.is_finished for run in runs):
        for run in runs:
            run.go_on(instructions=1)
    for x, run in zip(inputs, runs, strict=True):
        np.testing.assert_array_equal(run.results()["z"], model(x))


def test_a_time_ends_a_part_after_the_instruction_that_runs() -> None:
    model = Model(residual())
    x, _ = data()
    parts = model.parts({"x": x})
    for count in range(1, parts.length):
        assert not parts.go_on(seconds=0.0)
        assert parts.done == count
    assert parts.go_on(seconds=60.0)
    np.testing.assert_array_equal(parts.results()["z"], model(x))


def test_references_and_guards_in_parts() -> None:
    graph = with_guard(residual(), "y1", "y0", "flag")
    last = graph.nodes[-1]
    graph = Graph("mixed", graph.inputs, ("w",), (*graph.nodes, node("Sin", last.outputs[0], "w")), graph.constants)
    model = Model(graph)
    x, _ = data()
    for flag in (ON, OFF):
        parts = model.parts({"x": x, "flag": flag})
        while not parts.go_on(instructions=2):
            model(x, ON)
        np.testing.assert_array_equal(parts.results()["w"], model(x, flag))


def test_a_step_of_training_in_parts() -> None:
    whole, halves = (Trainer(residual(), SGD(lr=0.1, momentum=0.9), MSE(), threads=1) for _ in range(2))
    for seed in range(2):
        whole.step(*data(seed))
        program, inputs = halves.prepared(*data(seed))
        parts = program.parts(inputs)
        while not parts.go_on(instructions=7):
            pass
        parts.results()
    for name, value in whole.values().items():
        np.testing.assert_array_equal(halves.values()[name], value, err_msg=name)


def test_results_of_half_a_run_are_refused() -> None:
    parts = Model(residual()).parts({"x": data()[0]})
    parts.go_on(instructions=1)
    with pytest.raises(GraphError, match="got 1; go on first"):
        parts.results()
    for wrong in (
        {"instructions": 0},
        {"instructions": 2.5},
        {"instructions": "3"},
        {"seconds": -1.0},
        {"seconds": np.nan},
    ):
        with pytest.raises(GraphError, match="leave it out to run to the end"):
            parts.go_on(**wrong)
    assert parts.go_on()
    parts.results()
    with pytest.raises(GraphError, match="keep them"):
        parts.results()


def test_parts_take_what_was_planned_alone() -> None:
    model, x = Model(residual()), data()[0]
    model(x)
    (program,) = model._programs.values()
    for wrong in ({}, {"x": x[:2]}, {"x": x.astype(np.float64)}, {"x": x[:, ::-1]}):
        with pytest.raises(ShapeError, match="input x: expected a contiguous"):
            program.parts(wrong)


def test_a_parameter_that_is_an_output_is_inferred() -> None:
    base = residual()
    graph = Graph("outputs", base.inputs, ("z", "stem.shift"), base.nodes, base.constants)
    trainer = Trainer(graph, SGD(lr=0.1), MSE(), threads=1)
    x, y = data()
    trainer.step(x, y)
    np.testing.assert_array_equal(trainer.infer(x)[1], trainer.values()["stem.shift"])


def test_the_forward_pass_reads_the_weights_as_they_are_now() -> None:
    base = residual()
    nodes, inputs = (*base.nodes, node("Mul", "z u", "v")), {**base.inputs, "u": TensorSpec(())}
    graph = Graph("two inputs", inputs, ("z", "v"), nodes, base.constants)
    trainer = Trainer(graph, SGD(lr=0.05), threads=1, loss=MSE(), update="b1.*,stem.w:0.5")
    x, y = data()
    u = np.array(2.0, np.float32)
    store = trainer._store.nbytes
    for seed in range(3):
        z, v = trainer.infer(x, u)
        wanted = trainer.model()(x, u)
        np.testing.assert_allclose(z, wanted[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(v, 2 * z)
        trainer.gradients(*data(seed)[:1], u, y)
        store = store or trainer._store.nbytes
        trainer.step(*data(seed)[:1], u, y)
    again = trainer.infer(x[:3], u)
    np.testing.assert_allclose(again[0], trainer.model()(x[:3], u)[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(GraphError, match="pass each once, and no targets"):
        trainer.infer(x, u, y)
