"""Optimiser steps against torch's optimisers over several steps, by the references and by the kernels in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops.contract import find
from alula.runtime.planning.lowering import LOWERING
from tests.runtime.kernels.lowered import run

SIZE, LR = 1003, 0.05
# Op, attributes, inputs that are remembered, torch's optimiser
RULES: list[tuple[str, dict[str, Any], tuple[str, ...], str, dict[str, Any]]] = [
    ("SGDUpdate", {}, ("",), "SGD", {}),
    ("SGDUpdate", {"weight_decay": 0.1}, ("",), "SGD", {"weight_decay": 0.1}),
    ("SGDUpdate", {"momentum": 0.9, "weight_decay": 0.1}, ("m",), "SGD", {"momentum": 0.9, "weight_decay": 0.1}),
    ("SGDUpdate", {"momentum": 0.9, "nesterov": 1}, ("m",), "SGD", {"momentum": 0.9, "nesterov": True}),
    ("AdamUpdate", {}, ("m", "v"), "Adam", {}),
    ("AdamUpdate", {"weight_decay": 0.1, "beta1": 0.8}, ("m", "v"), "Adam", {"weight_decay": 0.1, "betas": (0.8, 0.999)}),
    ("AdamUpdate", {"weight_decay": 0.1, "decoupled": 1}, ("m", "v"), "AdamW", {"weight_decay": 0.1}),
]  # fmt: skip


def step_of(op: str, attrs: Any, state: dict[str, Array], g: Array, number: int, by_kernel: bool) -> None:
    """One step on `state`: w and what is remembered, in the node's order."""
    scalars = {"lr": np.float32(LR), "step": np.float32(number), "scale": np.float32(0.5)}
    if op != "AdamUpdate":
        del scalars["step"]
    inputs = {"w": state["w"], "g": g, **{n: a for n, a in state.items() if n != "w"}}
    inputs |= {name: np.array(value) for name, value in scalars.items()}
    kept = [name for name in state if name]
    rule = LOWERING.find(find(op, ""))
    assert rule
    if by_kernel:
        renewed = {f"new {name}": name for name in kept}
        run(rule, op, attrs, inputs, dict.fromkeys(renewed, g.shape), threads=2, renewed=renewed)
    else:
        absent = {name: array if name else None for name, array in inputs.items()}
        for name, array in zip(kept, find(op, "").reference(attrs, *absent.values()), strict=True):
            state[name][...] = array


@pytest.mark.parametrize("by_kernel", [False, True])
@pytest.mark.parametrize(("op", "attrs", "remembered", "rival", "options"), RULES)
def test_steps_are_torchs(
    op: str, attrs: dict[str, Any], remembered: tuple[str, ...], rival: str, options: dict[str, Any], by_kernel: bool
) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    w = rng.standard_normal(SIZE).astype(np.float32)
    theirs = torch.tensor(w.copy(), requires_grad=True)
    optimizer = getattr(torch.optim, rival)([theirs], lr=LR, **options)
    state = {"w": w, **{name: np.zeros(SIZE, np.float32) for name in remembered}}
    for number in range(1, 9):
        g = rng.standard_normal(SIZE).astype(np.float32)
        theirs.grad = torch.tensor(g * np.float32(0.5))
        optimizer.step()
        step_of(op, find(op, "").make_attrs(attrs, ""), state, g, number, by_kernel)
        np.testing.assert_allclose(state["w"], theirs.detach().numpy(), rtol=2e-5, atol=2e-6)


def test_lion_is_that_of_its_paper() -> None:
    rng = np.random.default_rng(1)
    w, m, g = (rng.standard_normal(50).astype(np.float32) for _ in range(3))
    attrs = find("LionUpdate", "").make_attrs({"weight_decay": 0.1}, "")
    new, mean = find("LionUpdate", "").reference(attrs, w, g, m, np.float32(0.01), np.float32(1))
    wanted = w.astype(np.float64) - 0.01 * (np.sign(0.9 * m.astype(np.float64) + 0.1 * g) + 0.1 * w)
    np.testing.assert_allclose(new, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean, 0.99 * m + 0.01 * g, rtol=1e-5, atol=1e-6)


def test_a_running_mean_is_the_mean() -> None:
    rng = np.random.default_rng(2)
    several = rng.standard_normal((5, 30)).astype(np.float32)
    mean = several[0].copy()
    for count, w in enumerate(several[1:], 1):
        rule = LOWERING.find(find("AverageUpdate", ""))
        assert rule
        inputs = {"mean": mean, "w": w, "rate": np.array(1 / (count + 1), np.float32)}
        run(rule, "AverageUpdate", None, inputs, {"new": mean.shape}, renewed={"new": "mean"})
    np.testing.assert_allclose(mean, several.mean(0), rtol=1e-5, atol=1e-6)


def test_what_belongs_to_another_tensor_is_refused() -> None:
    infer: Callable[..., Any] = find("SGDUpdate", "").infer
    attrs, w, scalar = find("SGDUpdate", "").make_attrs({}, ""), TensorSpec((3, 4)), TensorSpec(())
    assert infer(attrs, [w, w, None, scalar, scalar], [None] * 5) == (w,)
    assert infer(attrs, [w, w, w, scalar, scalar], [None] * 5) == (w, w)
    with pytest.raises(ShapeError, match="g to be"):
        infer(attrs, [w, TensorSpec((4, 3)), None, scalar, scalar], [None] * 5)
    with pytest.raises(ShapeError, match="lr to be a float32 scalar"):
        infer(attrs, [w, w, None, TensorSpec((1,)), scalar], [None] * 5)
    with pytest.raises(DTypeError, match="float32"):
        half = TensorSpec((3,), "float16")
        infer(attrs, [half, half, None, scalar, scalar], [None] * 5)
    momentum = find("SGDUpdate", "").make_attrs({"momentum": 0.9}, "")
    with pytest.raises(ShapeError, match="momentum_buffer"):
        infer(momentum, [w, w, None, scalar, scalar], [None] * 5)
