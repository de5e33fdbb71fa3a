"""Lowering rules of gradients, run as they are, against what the forward references say."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alula.runtime.graph import Array
from alula.runtime.ops.contract import find
from alula.runtime.ops.elementwise.lower import lower_elementwise
from alula.runtime.ops.loss.lower import lower_ctc
from alula.runtime.ops.pool.lower_gradient import lower_pool_grad
from alula.runtime.ops.pool.op import average_pool, max_pool, pixel_counts, pool_window
from tests.runtime.kernels.lowered import run

# Gradient -> the op, its attributes, whether the slope is known from the result
SLOPES: list[tuple[str, str, dict[str, Any], bool]] = [
    ("ReluGrad", "Relu", {}, True), ("SigmoidGrad", "Sigmoid", {}, True), ("TanhGrad", "Tanh", {}, True),
    ("LeakyReluGrad", "LeakyRelu", {"alpha": 0.2}, False), ("HardSigmoidGrad", "HardSigmoid", {"alpha": 0.3, "beta": 0.4}, False),
    ("HardSwishGrad", "HardSwish", {}, False), ("SwishGrad", "Swish", {"alpha": 1.0}, False),
    ("SwishGrad", "Swish", {"alpha": 1.7}, False), ("EluGrad", "Elu", {"alpha": 1.3}, False), ("GeluGrad", "Gelu", {}, False),
    ("GeluGrad", "Gelu", {"approximate": "tanh"}, False), ("SoftplusGrad", "Softplus", {}, False), ("MishGrad", "Mish", {}, False),
]  # fmt: skip


@pytest.mark.parametrize("shape", [(7,), (3, 5, 17), (2, 4097)])
@pytest.mark.parametrize(("gradient", "op", "attrs", "of_result"), SLOPES)
def test_a_slope_is_the_central_difference_of_its_function(
    gradient: str, op: str, attrs: dict[str, Any], of_result: bool, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape).astype(np.float32) * size for size in (4, 1))
    forward, made, step = find(op, op).reference, find(op, op).make_attrs(attrs, op), 1e-5
    wide = x.astype(np.float64)
    (above,), (below,), (result,) = (forward(made, wide + d) for d in (step, -step, 0.0))
    saved = result.astype(np.float32) if of_result else x
    got = run(lower_elementwise, gradient, made, {"dy": dy, "saved": saved}, {"dx": shape}, threads=2)["dx"]
    np.testing.assert_allclose(got, dy * (above - below) / (2 * step), rtol=2e-6, atol=2e-6)


def test_the_slope_of_a_clip_is_one_between_known_bounds() -> None:
    rng = np.random.default_rng(1)
    x, dy = (rng.standard_normal((3, 50)).astype(np.float32) for _ in range(2))
    bounds = {"low": np.array(-0.5, np.float32), "high": np.array(0.7, np.float32)}
    got = run(lower_elementwise, "ClipGrad", None, {"dy": dy, "x": x}, {"dx": x.shape}, bounds)["dx"]
    np.testing.assert_array_equal(got, np.where((x > -0.5) & (x < 0.7), dy, 0))


WINDOWS = [  # kernel, strides, pads, dilations, ceil_mode
    ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1), 0), ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 0), ((3, 2), (1, 1), (1, 0, 1, 1), (1, 1), 0),
    ((3, 3), (2, 2), (0, 0, 0, 0), (1, 1), 1), ((2, 3), (1, 2), (1, 1, 1, 1), (2, 3), 0), ((5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 0),
    ((3,), (2,), (1, 1), (1,), 0),
]  # fmt: skip


@pytest.mark.parametrize("c", [1, 3, 7, 16, 31, 70, 150])
@pytest.mark.parametrize(("kernel", "strides", "pads", "dilations", "ceil_mode"), WINDOWS)
def test_gradients_of_pools_go_back_to_the_pixels_of_the_windows(
    kernel: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...], dilations: tuple[int, ...], ceil_mode: int, c: int
) -> None:  # fmt: skip
    rng = np.random.default_rng(2)
    x = np.round(rng.standard_normal((2, *(9, 8)[: len(kernel)], c)) * 2).astype(np.float32)  # with ties
    shared = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations, "ceil_mode": ceil_mode}
    attrs = find("MaxPool", "").make_attrs(shared, "")
    best, indices = max_pool(attrs, x)
    dy = rng.standard_normal(best.shape).astype(np.float32)
    wanted = np.zeros((2, c, *x.shape[1:-1]), np.float32)  # in the order that Indices count in
    np.add.at(wanted.reshape(-1), indices.reshape(-1), dy.reshape(-1))
    for threads in (1, 3):
        got = run(lower_pool_grad, "MaxPoolGrad", attrs, {"dy": dy, "x": x}, {"dx": x.shape}, threads=threads)["dx"]
        np.testing.assert_allclose(got, np.moveaxis(wanted, 1, -1), rtol=1e-5, atol=1e-5)
    for include in (0, 1):
        mean = find("AveragePool", "").make_attrs({**shared, "count_include_pad": include}, "")
        window = pool_window(mean, x.shape)
        share = dy / pixel_counts(window, x.shape[1:-1], bool(include))[..., None]
        padded = np.zeros_like(window.pad(x, 0))
        for tap in window.taps():
            padded[window.at(tap)] += share
        inner = tuple(slice(b, b + s) for b, s in zip(window.pads_begin, x.shape[1:-1], strict=True))
        spread = np.zeros_like(x)
        part = padded[(slice(None), *inner)]
        spread[tuple(slice(0, n) for n in part.shape)] = part
        got = run(lower_pool_grad, "AveragePoolGrad", mean, {"dy": dy}, {"dx": x.shape}, threads=2)["dx"]
        np.testing.assert_allclose(got, spread, rtol=1e-5, atol=1e-5)
        # the adjoint: <dy, pool(x)> = <gradient(dy), x>
        np.testing.assert_allclose((got * x).sum(), (dy * average_pool(mean, x)[0]).sum(), rtol=1e-3, atol=1e-3)


def every_path(log_probs: Array, label: tuple[int, ...], blank: int) -> tuple[float, Array]:
    """Loss and gradient of one sample, by all paths there are. log_probs: (T, C) float64."""
    times, classes = log_probs.shape
    total, occupied = 0.0, np.zeros_like(log_probs)
    for path in itertools.product(range(classes), repeat=times):
        merged = tuple(c for c, _ in itertools.groupby(path) if c != blank)
        if merged == label:
            p = float(np.exp(log_probs[np.arange(times), path].sum()))
            total += p
            occupied[np.arange(times), path] += p
    with np.errstate(divide="ignore"):
        return -float(np.log(total)), -occupied / max(total, 1e-300)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_sums_over_every_path(blank: int, reduction: str) -> None:
    rng = np.random.default_rng(3)
    n, times, classes, length = 6, 6, 3, 4
    scores = rng.standard_normal((n, times, classes)) * 2
    log_probs = (scores - np.log(np.exp(scores).sum(-1, keepdims=True))).astype(np.float32)
    labels = rng.choice([c for c in range(classes) if c != blank], (n, length)).astype(np.int64)
    labels[5] = labels[5, 0]  # four alike need seven times: impossible
    lengths, times_of = np.array([0, 1, 2, 3, 3, 4], np.int64), np.array([6, 4, 5, 6, 5, 6], np.int64)
    losses, slopes = np.zeros(n), np.zeros((n, times, classes))
    for i in range(n):
        rows = slice(0, times_of[i])
        label = tuple(map(int, labels[i, : lengths[i]]))
        losses[i], slopes[i, rows] = every_path(log_probs[i, rows].astype(np.float64), label, blank)
    assert np.isinf(losses[5])
    shares = 1 / (n * np.maximum(lengths, 1)) if reduction == "mean" else np.ones(n)
    inputs = {"log_probs": log_probs, "labels": labels, "times_of": times_of, "lengths": lengths}
    outputs: dict[str, tuple[int, ...]] = {"loss": (), "losses": (n,), "gradient": log_probs.shape}
    for threads, zero in ((1, 1), (2, 1), (2, 0)):
        attrs = SimpleNamespace(blank=blank, reduction=reduction, zero_infinity=zero)
        got = run(lower_ctc, "CTCLoss", attrs, inputs, outputs, threads=threads)
        finite = np.where(np.isinf(losses), 0, losses) if zero else losses
        np.testing.assert_allclose(got["losses"], finite, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got["loss"], (finite * shares).sum(), rtol=1e-5, atol=1e-6)
        possible = np.isfinite(losses)
        wanted = slopes * shares[:, None, None]
        np.testing.assert_allclose(got["gradient"][possible], wanted[possible], rtol=1e-4, atol=1e-6)
        assert not got["gradient"][~possible].any()


def test_ctc_keeps_its_precision_over_long_inputs() -> None:
    times, classes, length = 400, 5, 100
    rng = np.random.default_rng(4)
    scores = rng.standard_normal((1, times, classes)) * 3
    log_probs = (scores - np.log(np.exp(scores).sum(-1, keepdims=True))).astype(np.float32)
    labels = rng.integers(1, classes, (1, length))
    inputs = {
        "log_probs": log_probs, "labels": labels, "times_of": np.array([times]), "lengths": np.array([length]),
    }  # fmt: skip
    attrs = SimpleNamespace(blank=0, reduction="sum", zero_infinity=0)
    got = run(lower_ctc, "CTCLoss", attrs, inputs, {"loss": (), "losses": (1,), "gradient": log_probs.shape})
    np.testing.assert_allclose(got["gradient"].sum(-1), -1, rtol=1e-5)  # at each time it is in some state
    step, at = 1e-3, (0, 200, int(np.abs(got["gradient"][0, 200]).argmax()))

    def loss(change: float) -> float:
        moved = log_probs.astype(np.float64)
        moved[at] += change
        return _log_space_loss(moved[0], labels[0])

    np.testing.assert_allclose(got["loss"], loss(0.0), rtol=1e-6)
    np.testing.assert_allclose(got["gradient"][at], (loss(step) - loss(-step)) / (2 * step), rtol=1e-4)


def _log_space_loss(log_probs: Array, label: Array) -> float:
    """The forward recursion in float64, blank 0."""
    states = np.zeros(2 * len(label) + 1, np.int64)
    states[1::2] = label
    alpha = np.full(len(states), -np.inf)
    alpha[:2] = log_probs[0, states[:2]]
    skips = np.r_[False, False, (states[2:] != 0) & (states[2:] != states[:-2])]
    for row in log_probs[1:]:
        beside = np.r_[-np.inf, alpha[:-1]]
        past = np.where(skips, np.r_[-np.inf, -np.inf, alpha[:-2]], -np.inf)
        alpha = np.logaddexp(np.logaddexp(alpha, beside), past) + row[states]
    return -float(np.logaddexp(alpha[-1], alpha[-2]))
