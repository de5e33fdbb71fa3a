"""Schedules: torch's rates, by number of the update alone."""

from __future__ import annotations

from typing import Any

import pytest

from alula.runtime.errors import GraphError
from alula.runtime.train import SGD, Constant, Cosine, OneCycle, Steps, WarmUp, schedule
from tests.runtime.train.digits import batches, trainer

BASE, STEPS = 0.4, 40


def test_rates_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    kinds = torch.optim.lr_scheduler
    pairs: list[tuple[Any, Any]] = [
        (Steps((10, 25), 0.2), lambda o: kinds.MultiStepLR(o, [10, 25], 0.2)),
        (Cosine(STEPS, 0.1), lambda o: kinds.CosineAnnealingLR(o, STEPS, BASE * 0.1)),
        (OneCycle(STEPS), lambda o: kinds.OneCycleLR(o, BASE, STEPS, cycle_momentum=False)),
        (OneCycle(STEPS, 0.5, 10.0, 100.0), lambda o: kinds.OneCycleLR(
            o, BASE, STEPS, pct_start=0.5, div_factor=10.0, final_div_factor=100.0, cycle_momentum=False)),
    ]  # fmt: skip
    for ours, theirs in pairs:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
        other = theirs(optimizer)
        for step in range(STEPS):
            assert ours.lr(step, BASE) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), (ours, step)
            optimizer.step()
            other.step()


def test_a_warm_up_rises_in_a_straight_line() -> None:
    made = WarmUp(Cosine(10), 4, start=0.2)
    rates = [made.lr(step, 1.0) for step in range(14)]
    assert rates[:4] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert rates[4] == 1.0 and rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)


def test_the_trainer_follows_the_schedule() -> None:
    own = trainer(SGD(BASE), schedule=Steps((1, 2), 0.5), accumulate=2)
    assert [own.step(*batch).lr for batch in batches(6)] == pytest.approx([0.4, 0.4, 0.2, 0.2, 0.1, 0.1])


def test_schedules_by_name() -> None:
    assert schedule("constant", 10) == Constant()
    assert schedule("cosine", 10, 2) == WarmUp(Cosine(8), 2)
    assert schedule("step", 100) == Steps((50, 75))
    assert schedule("step", 100, milestones=(30, 60), factor=0.5) == Steps((30, 60), 0.5)
    for wrong in (
        lambda: schedule("poly", 10),
        lambda: schedule("cosine", 10, 10),
        lambda: Cosine(0),
        lambda: OneCycle(9, 1.0),
        lambda: Steps((3,), 0.0),
        lambda: Steps((3,), float("nan")),
        lambda: Cosine(9, -0.1),
        lambda: WarmUp(Constant(), 3, 1.5),
    ):
        with pytest.raises(GraphError, match="expected"):
            wrong()  # type: ignore[no-untyped-call]
