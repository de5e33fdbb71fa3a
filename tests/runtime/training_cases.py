"""Cases of what only training runs: batch normalisation that learns, gradients, losses, optimiser steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.runtime.kernel_case import Case, Step, f, scalar


def batch_normalisation(v: int) -> Iterator[Case]:
    """Statistics of the batch and gradients: channels that are no whole vectors, rows that are no whole strips.

    v : lanes of a vector
    """
    shapes = [(1, 1, 1, 3), (2, 3, 5, 1), (3, 2), (1, 7, 7, v), (2, 5, 7, v + 5), (2, 16, 17, 2 * v + 4), (1, 3, 2, 7 * v),
              (2, 33, 9, 4 * v + 6), (700, 5)]  # fmt: skip
    positive = {"low": 0.1, "high": 2}
    for shape in shapes:
        c, rows = shape[-1], 1
        for dim in shape[:-1]:
            rows *= dim
        x, vectors = f(*shape), (f(c, **positive), f(c), f(c), f(c, **positive))
        attrs = {"epsilon": 1e-3, "momentum": 0.8, "unbiased": c % 2}
        yield Case("BatchNormalizationTraining", (x, *vectors), attrs, n_outputs=5, terms=rows, slack=16)
        for tail in (
            (Step("Relu"),), (Step("Add", (f(*shape),)), Step("Relu")), (Step("Add", (f(*shape),)),),
            (Step("Clip", (scalar(0), scalar(6))),), (Step("Mul", (f(c),)), Step("Tanh")), (Step("Relu"), Step("Add", (f(*shape),))),
        ):  # fmt: skip
            yield Case("BatchNormalizationTraining", (x, *vectors), {}, tail, n_outputs=5, terms=rows, slack=32)
        inputs = (f(*shape), x, f(c, **positive), f(c), f(c, **positive))
        yield Case("BatchNormalizationGrad", inputs, n_outputs=3, terms=rows, slack=16)


def gradients_of_activations(v: int) -> Iterator[Case]:
    """Slopes as steps of chains: by themselves, and behind another node."""
    shapes = ((), (1,), (v + 1,), (2, 3, 5, 7), (3, 4097))
    for op in ("ReluGrad",):
        for shape in shapes:
            yield Case(op, (f(*shape), f(*shape, special=True)), exact=True)
        tail = (Step("Add", (f(2, 3, 5, 7),)), Step(op, (f(2, 3, 5, 7),)))
        yield Case("Mul", (f(2, 3, 5, 7), f(7)), fused=tail)


def updates() -> Iterator[Case]:
    """Optimiser steps over sizes with and without whole vectors."""
    small = {"low": 0.001, "high": 0.1}
    for shape in ((), (5,), (3, 3, 7, 9), (70_001,)):
        w, g, m, lr, scale = f(*shape), f(*shape), f(*shape), f(**small), f(low=0.5, high=2)
        for momentum, nesterov, decay in itertools.product((0.0, 0.9), (0, 1), (0.0, 5e-4)):
            if momentum or not nesterov:
                attrs = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
                inputs = (w, g, m if momentum else None, lr, scale)
                yield Case("SGDUpdate", inputs, attrs, n_outputs=1 + bool(momentum))
        for step, decoupled in itertools.product((1.0, 7.0, 5000.0), (0, 1)):
            inputs = (w, g, f(*shape), f(*shape, low=0, high=1), lr, scalar(step), scale)
            yield Case("AdamUpdate", inputs, {"decoupled": decoupled, "weight_decay": 0.01}, n_outputs=3, slack=4)
        yield Case("SignSGDUpdate", (w, g, None, lr, scale), {"weight_decay": 0.01})
        yield Case("SignSGDUpdate", (w, g, m, lr, scale), {"momentum": 0.9}, n_outputs=2)
        yield Case("LionUpdate", (w, g, m, lr, scale), {"weight_decay": 0.01}, n_outputs=2)
        yield Case("AverageUpdate", (w, g, f(low=0, high=1)))
        yield Case("AccumulateUpdate", (w, g, scalar(1)))
        yield Case("AccumulateUpdate", (f(*shape, special=True), g, scalar(0)), exact=True)
        yield Case("SquaredNorm", (w, f(4097), g), terms=100)


def training(v: int) -> Iterator[Case]:
    """All of them."""
    yield from batch_normalisation(v)
    yield from gradients_of_activations(v)
    yield from updates()
