"""A whole step beside the same step in NumPy: weights as variables, in every order in which kernels want them to lie."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.graph import Array
from alula.runtime.ops.epilogue import unfuse
from alula.runtime.planning.reference import run_node
from alula.runtime.train import MSE, SGD, Adam, Trainer

onnx = pytest.importorskip("onnx")

from alula.host.onnx.importer import import_onnx  # noqa: E402
from tests.runtime.train.step_cases import CASES, StepCase  # noqa: E402

TOLERANCE = 2e-5


def trainer_of(case: StepCase, **options: object) -> Trainer:
    """A trainer of squared errors."""
    return Trainer(import_onnx(case.model()).graph, loss=MSE(), threads=1, **options)  # type: ignore[arg-type]


def target_of(case: StepCase, trainer: Trainer) -> Array:
    """What the network is to answer: ones."""
    return np.ones_like(trainer.model()(case.input(0)))


def in_numpy(trainer: Trainer, *arrays: Array) -> tuple[dict[str, Array], list[Array]]:
    """The variables after a step, and the network's outputs, by the references of the same nodes."""
    plan, _ = trainer._plan(trainer._specs(arrays), trainer._recipe)
    network = plan.network
    values = {**trainer.values(), **trainer._inputs(plan, arrays, trainer.lr)}
    for node in network.nodes:
        values.update({name: network.values[name] for name in node.reads if name in network.values})
        for part in unfuse(node):
            run_node(part, values)
    after = {**trainer.values(), **{old: values[new] for new, old in plan.updates.items()}}
    return after, [values[name] for name in plan.outputs[1:]]


def distance(ours: Array, true: Array, scale: float) -> float:
    """Of one tensor from another one, over what is large there."""
    assert ours.shape == true.shape and np.isfinite(ours).all()
    return float(np.abs(ours - true).max(initial=0) / max(scale, 1e-3))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_of_rate_zero_changes_no_weight_and_answers_as_inference_does(case: StepCase) -> None:
    trainer = trainer_of(case, optimizer=SGD(0.0), batch_statistics=False)
    x, target = case.input(0), target_of(case, trainer)
    expected, before = trainer.model()(x), trainer.values()
    outputs = [trainer.step(x, target).outputs[0] for _ in range(2)]
    assert all(np.array_equal(value, before[name]) for name, value in trainer.values().items())
    for output in outputs:
        assert distance(output, expected, float(np.abs(expected).max())) <= TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("options", [{"optimizer": SGD(0.1, momentum=0.9)}, {"optimizer": Adam(0.01, epsilon=0.1), "clip_norm": 0.5}],
                         ids=["momentum", "clipped Adam"])  # fmt: skip
def test_steps_are_those_of_the_references(case: StepCase, options: dict[str, object]) -> None:
    trainer = trainer_of(case, **options)
    assert set(trainer.trained) == set(case.weights if case.trained is None else case.trained)
    target = target_of(case, trainer)
    for seed in range(3):
        before = trainer.values()
        after, outputs = in_numpy(trainer, case.input(seed), target)
        step = trainer.step(case.input(seed), target)
        assert distance(step.outputs[0], outputs[0], float(np.abs(outputs[0]).max())) <= TOLERANCE
        for name, value in trainer.values().items():
            moved = float(np.abs(after[name] - before[name]).max(initial=0))
            assert (
                distance(value, after[name], max(moved, 1e-2 * float(np.abs(after[name]).max(initial=0))))
                <= 50 * TOLERANCE
            ), name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_plan_without_checks_gives_the_same_bits(case: StepCase, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for checks in ("1", "0"):  # each buffer in its own place, then memory shared as users have it
        monkeypatch.setenv("ALULA_CHECK", checks)
        trainer = trainer_of(case, optimizer=SGD(0.1, momentum=0.9))
        target = target_of(case, trainer)
        steps = [trainer.step(case.input(seed), target) for seed in range(2)]
        found.append(
            [*(step.outputs[0].tobytes() for step in steps), *(v.tobytes() for v in trainer.values().values())]
        )
    assert found[0] == found[1]
